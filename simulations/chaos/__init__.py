"""Real processes under faults: kills, stops, cuts, full disks and clocks that are set, while messages are sent."""
