"""The protocol as plain objects: who is there, who leads, what each instance is.

Nothing here does I/O, reads a clock, draws a random number or logs, but through what it is given. A
:class:`~meshp2p.core.machine.Machine` takes what happened and the time at which it happened, and returns effects; a
driver performs them. The trio driver and the simulator drive the very same machine.
"""
