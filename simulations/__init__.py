"""Sweeps, regressions and benchmarks of the simulator, for developers of meshp2p: ``python -m simulations -h``."""
