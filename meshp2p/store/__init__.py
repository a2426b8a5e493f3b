"""What is kept on disk: who a node is, and its messages."""
