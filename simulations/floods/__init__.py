"""Floods against a real node: what a client beside them waits, and what they cost the node."""
