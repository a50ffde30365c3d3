"""Studies: tables of items, scored by one model or several."""
