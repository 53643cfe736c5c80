# Two commands: 'make all' runs the default study, 'make test' the fast tests. Both set up .venv first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
CORES ?= $(shell nproc 2>/dev/null || echo 2)
# The shell fills in the folder, so that a name with quotes or $() in it executes nothing.
RUN := PATH="$$PWD/.venv/bin:$$PATH"

# Files of tests side by side, each on one core: threads that wait for one another are slower than none.
PYTEST := OMP_NUM_THREADS=1 pytest --numprocesses $(CORES) --dist loadfile

STUDY ?= ecal

.PHONY: all test test-slow test-cluster faults chromium lint schema lock study-rows study-page benchmark benchmark-scale clean

all: .venv/ready
	$(RUN) snakemake --cores $(CORES) all

test: .venv/ready
	$(RUN) $(PYTEST) -m "not slow"

test-slow: .venv/ready
	$(RUN) $(PYTEST) -m slow

# The browser in which the slow tests load the report; Debian and root.
chromium:
	command -v chromium > /dev/null || { apt-get update && \
	DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends chromium; }

# On servers of its own, which listen on a loopback of their own and end with the tests; Debian and root.
test-cluster: .venv/cluster
	for program in slurmctld munged xrootd; do command -v $$program > /dev/null || \
	{ apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
	slurm-wlm munge xrootd-server; } || exit; done
	$(RUN) OMP_NUM_THREADS=1 timeout 2400 tests/cluster/alone.sh pytest tests/cluster

# The fault matrix with all cases of each fault, and its table in docs/reliability.md.
faults: .venv/ready
	$(RUN) $(PYTEST) -m fault --faults=long --faults-page=docs/reliability.md tests

lint: .venv/ready
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) snakefmt --check Snakefile workflow
	$(RUN) snakemake --lint

schema: .venv/ready
	$(RUN) python -c "from sosie.settings import schema; print(schema(), end='')" > workflow/schemas/study.schema.json

# What results/$(STUDY) measured, to be committed, and the page that is built from it.
study-rows: .venv/ready
	$(RUN) python -m sosie.studies rows results/$(STUDY) docs/studies/$(STUDY)

study-page: .venv/ready
	$(RUN) python -m sosie.studies page docs/studies/$(STUDY) docs/studies/$(STUDY).md

# Speed, memory and overhead, measured on this machine, which should have nothing else to do.
benchmark: .venv/ready
	$(RUN) python benchmarks/run.py --out docs/benchmarks.md

# Time and memory against the number of events, up to SIZES; taken up again where it was ended.
SIZES ?= 10000 100000 1000000
benchmark-scale: .venv/ready
	$(RUN) python benchmarks/scale.py --sizes $(SIZES) --out docs/scale.md

# Digests of all pinned files, by the versions in envs/constraints.txt; needs uv. Torch has none: each
# index has files of its own of it, for CUDA or without, and with it come packages of CUDA.
LOCK := uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header \
	--python-version 3.11 --constraint envs/constraints.txt pyproject.toml --extra dev
UNLOCKED := ^(torch==|triton==|nvidia-|cuda-)
lock:
	$(LOCK) | awk '/^[A-Za-z]/ { keep = !/$(UNLOCKED)/ } keep' > envs/lock.txt
	$(LOCK) --extra tensorboard --extra cluster --extra xrootd --extra htcondor | \
	awk 'NR == FNR { known[$$1]; next } /^[A-Za-z]/ { keep = !($$1 in known) && !/$(UNLOCKED)/ } keep' \
	envs/lock.txt - > envs/lock-optional.txt

# First the files whose digests are known, then torch, and sosie itself with nothing else to fetch.
PIP := .venv/bin/python -m pip install --quiet --disable-pip-version-check
.venv/ready: pyproject.toml envs/constraints.txt envs/lock.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'sosie needs Python 3.11 or newer: make PYTHON=/path/to/python3.11')"
	$(PYTHON) -m venv .venv
	$(PIP) --no-deps --require-hashes --requirement envs/lock.txt
	$(PIP) --constraint envs/constraints.txt --no-build-isolation --editable ".[dev]"
	touch $@

.venv/cluster: .venv/ready envs/lock-optional.txt
	$(PIP) --no-deps --require-hashes --requirement envs/lock-optional.txt
	$(PIP) --constraint envs/constraints.txt --no-build-isolation --editable ".[cluster,xrootd,htcondor]"
	touch $@

clean:
	rm -rf results .snakemake
