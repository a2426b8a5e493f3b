"""Faults planted in the core, one at a time: which unit test and which checker catches each, and which survive."""
