"""Guards the machine of a node of a secured mesh: what may be handed to it, and what it sends.

The decisions here do no I/O and have no clock. Nodes and the simulator use the same ones; the simulator gives them keys
that only stand for cryptography.
"""
