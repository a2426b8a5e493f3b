"""Floods against a real node: how long another client waits, and what they cost the node."""
