"""Who belongs to a secured mesh: keys, certificates, the trust map, and joining.

Everything here is pure: no sockets, no files, no clock. Only this package imports cryptography and spake2, and nothing
imports it unless a secured mesh is used.
"""
