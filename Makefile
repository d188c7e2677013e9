# Every target does its own set-up from a bare checkout: only Python 3.11 or newer is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := libs/common libs/sandbox libs/huggingplace libs/cli services/gateway services/llm-stream services/media services/resources services/telemetry
EDITABLE := $(foreach p,$(PACKAGES),-e $(p))
PYPROJECTS := $(foreach p,$(PACKAGES),$(p)/pyproject.toml)

# Every process would compile all of its modules anew: a second for each start.
unexport PYTHONDONTWRITEBYTECODE

NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))

.PHONY: run test bench check generate lock clean help venv

help:
	@echo "make run       start everything on this machine (http://127.0.0.1:8080)"
	@echo "make test      the whole test suite, on real engines"
	@echo "make bench     measure the running system beside a direct call"
	@echo "make check     lint, types, import rules, generated files"
	@echo "make generate  schemas, AsyncAPI and the references"
	@echo "make lock      resolve the dependencies again"

run: $(VENV)/.runtime
	@$(BIN)/sonant up

# A file stays with one of the workers: its tests share what they start.
test: $(VENV)/.dev
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

bench: $(VENV)/.dev
	@$(BIN)/python -m tests.bench $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy libs/*/src services/*/src tests
	$(BIN)/lint-imports
	$(BIN)/python -m common.docs --check

generate: $(VENV)/.dev
	$(BIN)/python -m common.docs

$(VENV)/.runtime: requirements.lock $(PYPROJECTS)
	@echo "Setting up $(VENV), for the first run and after an update: $$(grep -c '^[A-Za-z0-9]' requirements.lock) packages,"
	@echo "some hundred MB to fetch, 1.2 GB on disk. It takes some minutes. What is here already is not fetched again."
	@$(BIN)/python -c 'import pip; $(NEW_ENOUGH)' 2>/dev/null || $(MAKE) --no-print-directory venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@echo "Packages are installed; now Sonant itself ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(EDITABLE)
	@touch $@

# What a failed attempt leaves behind is never built upon.
venv:
	@$(PYTHON) -c '$(NEW_ENOUGH)' 2>/dev/null || { \
		echo "Sonant needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
		echo "Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make a virtual environment (Debian, Ubuntu: apt install python3-venv)." >&2; exit 1; }

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	@echo "Fetching what tests and checks need beside it: some hundred MB, 0.5 GB on disk ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

lock: $(VENV)/.dev
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11 pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11 --constraint requirements.lock --group dev pyproject.toml -o requirements-dev.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
