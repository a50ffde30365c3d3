"""The search for faults: hostile files, command lines, signals, networks and disks, tried at random."""
