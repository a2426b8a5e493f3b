"""Fuzzing of everything that reads the network: the codecs, the connections between nodes, and the machine behind
them."""
