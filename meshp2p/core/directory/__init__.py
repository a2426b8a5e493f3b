"""The state and services that all parts of the machine share: records, addresses, timers, calls, stores."""
