"""The HTTP server of a node on trio: JSON bodies, authorization, and the routes."""
