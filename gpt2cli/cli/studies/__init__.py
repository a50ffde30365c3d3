"""Studies on the command line: items in, rows out."""
