"""The shared ground of both simulators: faults, links, disks and the trace of a run."""
