"""Meshes of real processes on LANs that are made of network namespaces, through faults of the network."""
