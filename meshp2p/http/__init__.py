"""The HTTP face of a node: a server on h11 and trio, JSON bodies, who may call, and the routes."""
