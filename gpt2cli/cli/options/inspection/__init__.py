"""Options of the commands that look inside."""
