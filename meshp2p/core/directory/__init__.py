"""What every part of the machine may know of the mesh and ask for: records, addresses, timers, calls, stores."""
