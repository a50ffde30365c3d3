"""Commands as processes: their arguments, streams, signals, networks and disks."""
