# What a person types; `make` alone lists it. Needs Python 3.11 or newer, make and PyPI, and nothing else:
# no git, no root. `test-interop` also fetches Debian and npm packages, `test-faults` strace
# and `test-power` a Debian system, into .work/ and nowhere else; the disks of `test-faults` need root.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
WORK   := .work
# The one tool that is not in a lock, because it writes them.
UV     := uv==0.13.8

# A machine may set this for people; inside a virtual environment it only breaks pip.
export PIP_USER := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Every file from PyPI is checked against the hashes in the lock, from whatever index the machine uses.
INSTALL := $(BIN)/python -m pip install --quiet --require-hashes

.DEFAULT_GOAL := help
.PHONY: help demo test test-interop test-mutants lint format bench fuzz campaigns test-faults test-power test-scale lock clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | awk -F'|' '{printf "  make %-14s %s\n", $$1, $$2}'

demo: $(VENV)/.runtime ## start a local SES and a relay, send real mail through them, show what SES saw
	$(BIN)/ses-relay demo

test: lint ## everything that needs only Python and PyPI: style, types, tests
	$(BIN)/python -m pytest -m "not interop"

test-interop: $(VENV)/.dev $(WORK)/interop/.tools ## real clients, servers and scanners of other makers: swaks, Exim, HAProxy, testssl.sh, moto ...
	PATH="$(CURDIR)/$(WORK)/interop/bin:$$PATH:/usr/sbin:/sbin" NODE_PATH="$(CURDIR)/$(WORK)/interop/node_modules" \
		$(BIN)/python -m pytest -m interop tests/interop

test-mutants: $(VENV)/.dev ## breaks the code on purpose in many ways, and sees that a named test notices each
	$(BIN)/python tests/mutants/run.py $(MUTANTS)

lint: $(VENV)/.dev ## style and types alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev ## rewrite the code in the one style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

N    ?= 20000
SEED ?= 1

fuzz: $(VENV)/.dev ## send N sessions (20000) of changed and made-up dialogues to a listener; ends with 1 at a finding
	PYTHONPATH=tests $(BIN)/python tests/fuzz/fuzz_wire.py --executions $(N) --seed $(SEED)

campaigns: $(VENV)/.dev ## memory and descriptors of a relay under abuse, in figures; ends with 1 when a bound is broken
	PYTHONPATH=tests $(BIN)/python tests/campaigns/campaigns.py

test-faults: $(VENV)/.dev $(WORK)/faults/.tools ## a relay that is killed 1,000 times and at each system call, and disks that fail; needs root for mounts
	PATH="$(CURDIR)/$(WORK)/faults/bin:$$PATH:/usr/sbin:/sbin" PYTHONPATH=tests \
		$(BIN)/python tests/faults/fault_campaigns.py $(FAULTS)
	PATH="$(CURDIR)/$(WORK)/faults/bin:$$PATH:/usr/sbin:/sbin" PYTHONPATH=tests:tests/faults \
		$(BIN)/python tests/disk/disk_campaign.py

test-power: $(VENV)/.dev $(WORK)/power/.machine ## cuts the power of a whole virtual machine, again and again; needs qemu and mmdebstrap
	PYTHONPATH=tests:tests/faults $(BIN)/python tests/power/power_campaign.py $(WORK)/power $(POWER)

test-scale: $(VENV)/.dev ## a relay with 100,000 queued messages: starts, claims, memory, pace and fairness, in figures
	PYTHONPATH=tests:tests/campaigns $(BIN)/python tests/scale/scale.py

bench: $(VENV)/.dev ## measurements; they time things and assert nothing
	@for file in tests/bench/bench_*.py; do echo "== $$file"; PYTHONPATH=tests $(BIN)/python "$$file" || exit 1; done

# Universal locks: markers and hashes for every platform and every Python from 3.11 on.
# `make lock UPGRADE=--upgrade` moves to the newest versions, without it only what changed is resolved again.
COMPILE = $(WORK)/lock/bin/uv pip compile --no-config --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(UPGRADE)

lock: $(WORK)/lock/.made ## pin the dependencies of pyproject.toml anew
	$(COMPILE) pyproject.toml --output-file requirements.lock
	$(COMPILE) pyproject.toml --group dev --constraints requirements.lock --output-file requirements-dev.lock
	$(COMPILE) --group build --constraints requirements-dev.lock --output-file requirements-build.lock
	$(COMPILE) --group interop --output-file requirements-interop.lock

clean: ## remove everything that the other targets made
	rm -rf $(VENV) $(WORK) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: what is up to date is not installed again.

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "ses-relay needs Python 3.11 or newer, and $(PYTHON) is not. Name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
		echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/.runtime: $(VENV)/.made requirements.lock requirements-build.lock pyproject.toml
	$(INSTALL) -r requirements-build.lock -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	$(INSTALL) -r requirements-dev.lock
	@touch $@

$(WORK)/faults/.tools: tests/faults/setup.sh
	@sh tests/faults/setup.sh $(WORK)/faults
	@touch $@

$(WORK)/power/.machine: tests/power/setup.sh tests/power/guest/campaign requirements.lock | $(VENV)/.made
	sh tests/power/setup.sh $(WORK)/power $(BIN)/python
	@touch $@

$(WORK)/interop/.tools: tests/interop/setup.sh tests/interop/package.json tests/interop/package-lock.json \
		tests/interop/requirements.txt requirements-interop.lock | $(VENV)/.made
	sh tests/interop/setup.sh $(WORK)/interop $(BIN)/python
	@touch $@

$(WORK)/lock/.made: Makefile
	$(PYTHON) -m venv $(WORK)/lock
	$(WORK)/lock/bin/python -m pip install --quiet $(UV)
	@touch $@
