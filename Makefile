PYTHON ?= python

.PHONY: audit check completions constraints fuzz gpu man readme sbom soak study-cluster study-training

# Known vulnerabilities of the versions pinned for every supported Python; each version must be found on PyPI.
# Needs uv and a network.
audit:
	for python in $$(sed -n 's/.*Python :: \(3\.[0-9]*\)".*/\1/p' pyproject.toml); do \
		uvx --python $$python pip-audit --strict --require-hashes --disable-pip -r constraints-hashed.txt || exit; \
	done

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

# Resolves constraints.txt and constraints-hashed.txt for every supported Python and system; needs uv and a network.
constraints:
	$(PYTHON) tests/constraints.py

# The tests that need an NVIDIA GPU, and measures there; 10 minutes at most.
gpu:
	$(PYTHON) -m pytest -n 0 -m cuda
	PYTHONPATH=.:tests $(PYTHON) tests/gpu.py

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

# Searches for faults; a finding is kept in fuzz-findings. MINUTES, SEED, KINDS, and CASE to repeat one attempt.
fuzz:
	PYTHONPATH=.:tests TQDM_DISABLE=1 $(PYTHON) -m fuzz $(KINDS) $(if $(MINUTES),--minutes $(MINUTES)) \
		$(if $(SEED),--seed $(SEED)) $(if $(CASE),--case $(CASE))

# What an installation is made of, in CycloneDX's format; needs uv and a network.
sbom:
	mkdir -p dist
	uvx --from cyclonedx-bom cyclonedx-py requirements --pyproject pyproject.toml --of JSON -o dist/sbom.json \
		constraints-hashed.txt

# Long runs, whose memory and open files must stay as they are: REQUESTS, TOKENS, and MINUTES of training.
soak:
	PYTHONPATH=.:tests $(PYTHON) tests/soak.py $(if $(REQUESTS),--requests $(REQUESTS)) \
		$(if $(TOKENS),--tokens $(TOKENS)) $(if $(MINUTES),--minutes $(MINUTES))
