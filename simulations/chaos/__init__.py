"""Real processes under faults while messages are sent: kills, suspensions, partitions, full disks and clock changes."""
