"""Looking inside: how a text was made, and what a model expects at each place."""
