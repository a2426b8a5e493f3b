"""Formats of other projects, which use nothing of the rest of meshp2p."""
