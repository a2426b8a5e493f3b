"""Clients of the measured message systems: each runs in its own process and takes the same commands."""
