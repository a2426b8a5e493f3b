"""The parts shared by both simulators: faults, links, disks and the trace of a run."""
