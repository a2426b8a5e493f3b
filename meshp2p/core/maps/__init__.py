"""Replicated maps."""
