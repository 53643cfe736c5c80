# Two commands: 'make all' runs the default study, 'make test' the fast tests. Both set up .venv first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
CORES ?= $(shell nproc 2>/dev/null || echo 2)
BIN := $(CURDIR)/.venv/bin
RUN := PATH="$(BIN):$$PATH"

.PHONY: all test test-slow lint schema clean

all: .venv/ready
	$(RUN) snakemake --cores $(CORES) all

test: .venv/ready
	$(RUN) pytest -m "not slow"

test-slow: .venv/ready
	$(RUN) pytest -m slow

lint: .venv/ready
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) snakefmt --check Snakefile workflow
	$(RUN) snakemake --lint

schema: .venv/ready
	$(RUN) python -c "from sosie.settings import schema; print(schema(), end='')" > workflow/schemas/study.schema.json

.venv/ready: pyproject.toml envs/constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'sosie needs Python 3.11 or newer: make PYTHON=/path/to/python3.11')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint envs/constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf results .snakemake
