"""The data that a node stores on disk: its identity, and its messages."""
