"""Clients of the systems whose messages are measured: each in a process of its own, all told alike what to do."""
