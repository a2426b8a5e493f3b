"""Programs for other systems, with the input and output of ``node_program``."""
