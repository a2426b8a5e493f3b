"""Meshes of real processes on LANs made of network namespaces, with network faults."""
