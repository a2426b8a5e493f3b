"""Safeguards of the protocol, each switched off to see which checker fails without it."""
