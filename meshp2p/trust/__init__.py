"""Membership of machines in a secured mesh: keys, certificates, the trust map, and joining.

Everything here is pure: no sockets, no files, no clock. Only this package imports cryptography and spake2. It is
imported only if a secured mesh is used.
"""
