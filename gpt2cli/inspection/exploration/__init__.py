"""Writing with a model: a tree of texts, and what may come at each place in it."""
