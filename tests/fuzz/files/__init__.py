"""Files that are damaged or hostile, read in the process that searches."""
