"""The HTTP server of a node on h11 and trio: JSON bodies, authorization, and the routes."""
