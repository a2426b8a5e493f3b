"""Programs of other systems, which speak as ``node_program`` does."""
