"""Options of studies."""
