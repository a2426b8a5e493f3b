# make help says what there is. Everything runs in .venv, which is made when first needed and
# installed into again only when pyproject.toml or constraints.txt changed.

.DEFAULT_GOAL := help
.PHONY: help test test-long demo docs constraints clean
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
PIP := -m pip --disable-pip-version-check
# Candidates on PATH, the first that will do is taken; `make test PYTHON=/path/to/python` names another.
PYTHON :=
NEWEST_FIRST := python3.13 python3.12 python3.11 python3
OLDEST_FIRST := python3.11 python3.12 python3.13 python3

# $(call find_python,CANDIDATES): set $$python to the first that runs, is new enough and can make environments.
# A candidate is run, not only looked up: what a version manager puts on PATH may be an empty shell.
define find_python
python=; seen=; \
for candidate in $(or $(PYTHON),$(1)); do \
    "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
    seen=$$candidate; \
    "$$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1 || continue; \
    python=$$candidate; break; \
done; \
if [ -z "$$python" ] && [ -n "$$seen" ]; then \
    echo "error: $$seen has no venv module (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; \
elif [ -z "$$python" ]; then \
    echo "error: no Python 3.11 or newer; looked for: $(or $(PYTHON),$(1))" >&2; exit 1; \
fi
endef

help: ## list the targets (the default)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

test: $(VENV)/.installed-dev ## run what CI runs: format, lint, layers, types, docs, tests, a sweep of seeds
	./check

# What takes too long for `make test`; each tool adds a line. With these minutes the whole takes about two hours on two
# idle cores. To run a tool for longer: `make test-long FUZZ_MINUTES=600`.
FUZZ_MINUTES ?= 20
MEMORY_MINUTES ?= 5
CHAOS_MINUTES ?= 10

test-long: test ## make test, then long tests, planted faults, floods, fuzzing, memory, chaos (two hours on 2 cores)
	$(BIN)/python -m pytest -m long
	$(BIN)/python -m simulations mutants --jobs 2 --json build/mutants.json
	$(BIN)/python -m simulations floods --json build/floods.json
	$(BIN)/python -m simulations fuzz --minutes $(FUZZ_MINUTES) --jobs 2
	$(BIN)/python -m simulations memory --minutes $(MEMORY_MINUTES)
	$(BIN)/python -m simulations memory --minutes $(MEMORY_MINUTES) --nodes
	$(BIN)/python -m simulations chaos --minutes $(CHAOS_MINUTES)

demo: $(VENV)/.installed ## show a small mesh at work on this machine
	$(BIN)/python demo.py

docs: $(VENV)/.installed-dev ## build the documentation as HTML in build/docs
	$(BIN)/python -m sphinx -W --keep-going -n -q -b html docs build/docs
	@echo "build/docs/index.html"

constraints: ## pin all dependencies anew in constraints.txt, with the oldest supported Python
	@$(call find_python,$(OLDEST_FIRST)); \
	set -e; \
	rm -rf build/constraints; \
	"$$python" -m venv build/constraints; \
	build/constraints/bin/python $(PIP) install -qq --editable '.[dev]'; \
	{ echo "# Every package that .[dev] brings, pinned. Made by 'make constraints'; do not edit."; \
	  build/constraints/bin/python $(PIP) freeze --exclude-editable | grep -E '^[A-Za-z0-9._-]+==[^ ]+$$'; \
	} > build/constraints.txt; \
	mv build/constraints.txt constraints.txt; \
	rm -rf build/constraints; \
	echo "constraints.txt: $$(grep -c == constraints.txt) packages"

clean: ## remove the environment, what was built and the caches
	rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(call find_python,$(NEWEST_FIRST)); \
	echo "making $(VENV) with $$("$$python" --version)"; \
	rm -rf $(VENV) && "$$python" -m venv $(VENV)

# What the demo needs is part of what the tests need, so the full installation counts for both.
$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing meshp2p with its development tools into $(VENV)"
	@$(BIN)/python $(PIP) install -qq --editable '.[dev]' --constraint constraints.txt
	@touch $(VENV)/.installed $@

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing meshp2p into $(VENV)"
	@$(BIN)/python $(PIP) install -qq --editable . --constraint constraints.txt
	@touch $@
