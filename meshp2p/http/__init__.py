"""The HTTP face of a node: an ASGI server on h11 and trio, JSON bodies, who may call, routes and the live page."""
