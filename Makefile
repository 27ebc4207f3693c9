# `make` alone prints what there is.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# More than there are cores: the tests wait for processes now and then.
WORKERS ?= 4
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
ARGS ?=
SOAK_SECONDS ?= 60

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
export PIP_NO_INPUT := 1
# The tests start hundreds of Python processes: none shall compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo run test fast slow lint types layers format bench soak docs site constraints audit clean

help: ## this list
	@echo 'make TARGET, with [ARGS=...] for demo, bench and the tests, WORKERS=6 for the tests, and PYTHON=python3.12 for install'
	@echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

install: $(STAMP) ## a virtual environment in .venv, with everything in the tested versions

$(STAMP): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "$(PYTHON) cannot make a virtual environment: install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## from nothing to a verified, reclaimed registry, in under a minute
	$(BIN)/dredge demo $(ARGS)

run: $(STAMP) ## the whole system in the foreground; embedded servers where no URL is set
	$(BIN)/dredge up $(ARGS)

test: lint layers ## what must pass before a change is merged, in about six minutes; .ci/run adds `make slow`
	@$(MAKE) --no-print-directory -j2 types fast  # mypy uses one core of those that the tests leave idle

fast: $(STAMP) ## the tests alone, with short explorations
	$(PYTEST) -m 'not slow' $(ARGS)

slow: $(STAMP) ## deep explorations, crash points, outages with real processes
	$(PYTEST) -m slow $(ARGS)

lint: $(STAMP) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## let ruff fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

layers: $(STAMP) ## who may import whom
	$(BIN)/lint-imports --no-cache

bench: $(STAMP) ## figures and ratios of this machine, as JSON lines with ARGS=--json
	$(BIN)/python -m bench $(ARGS)

soak: $(STAMP) ## pushers, deleters and pullers against collections and kills, for SOAK_SECONDS
	$(BIN)/python -m tests.soak --seconds $(SOAK_SECONDS) $(ARGS)

docs: $(STAMP) ## write the generated pages: commands, settings, cases
	$(BIN)/python -m tests.support.pages

site: $(STAMP) ## build the documentation as a site in build/site
	$(BIN)/mkdocs build --strict

constraints: $(STAMP) ## write what is installed into constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable --exclude pip --exclude setuptools > constraints.txt
	@touch $(STAMP)

audit: $(STAMP) ## known vulnerabilities of the tested versions, and everybody's licences; needs PyPI
	@test -x build/audit/bin/pip-audit || { $(PYTHON) -m venv build/audit && build/audit/bin/pip install --quiet pip-audit pip-licenses; }
	build/audit/bin/pip-licenses --python=$(BIN)/python --order=license
	build/audit/bin/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip

clean: ## remove the virtual environment and what tools leave
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
