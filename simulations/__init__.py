"""Sweeps, regressions and benchmarks of the simulator: what developers of meshp2p run. ``python -m simulations -h``."""
