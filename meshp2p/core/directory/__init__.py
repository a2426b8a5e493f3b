"""What every part of the machine may use: records, addresses, timers, calls, stores."""
