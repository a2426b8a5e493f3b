"""Real meshes, measured beside other systems: ``python -m simulations.benchmarks --help``."""
