PYTHON ?= python

.PHONY: check completions constraints man readme study-cluster study-training

check:
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest

# Typer prints an empty line first, but zsh needs #compdef on the first line.
completions:
	mkdir -p completions
	printf '%s\n' "$$(_GPT2_COMPLETE=source_bash $(PYTHON) -m gpt2cli | sed '/./,$$!d')" > completions/gpt2.bash
	printf '%s\n' "$$(_GPT2_COMPLETE=source_zsh $(PYTHON) -m gpt2cli | sed '/./,$$!d')" > completions/_gpt2
	printf '%s\n' "$$(_GPT2_COMPLETE=source_fish $(PYTHON) -m gpt2cli | sed '/./,$$!d')" > completions/gpt2.fish

# Resolves constraints.txt for every supported Python and system; needs uv and a network.
constraints:
	$(PYTHON) tests/constraints.py

# Built from the commands' help and the variables in docs/scripts.md.
man:
	$(PYTHON) tests/man_page.py

readme:
	$(PYTHON) tests/readme.py

# Simulates clusters of up to 1,000 workers, and writes the table in docs/scale.md.
study-cluster:
	$(PYTHON) tests/cluster_simulation.py

# Takes an hour or more, and goes on where it was stopped; TEXT=FILE takes the place of Python's sources.
study-training:
	nice -n 19 $(PYTHON) tests/training_study.py $(TEXT)
