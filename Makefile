# Two commands for everybody: `make run` and `make test`. Both set themselves up.
PYTHON ?= python3
PORT ?= 8080
DATA_DIR ?= var/demo
DATABASE ?=
BROKER ?=
BENCH ?=
SOAK ?=
BIN := .venv/bin

.PHONY: run test check soak bench bench-fhir mutants services clean

run: .venv/installed
	@$(BIN)/planbrug demo --port $(PORT) --data-dir $(DATA_DIR) --database "$(DATABASE)" --broker "$(BROKER)"

test: .venv/tested services check
	@$(BIN)/pytest -q -n auto --dist loadfile

check: .venv/tested
	@$(BIN)/ruff format --check -q .
	@$(BIN)/ruff check -q .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

soak: .venv/tested services
	@$(BIN)/python tests/soak.py $(SOAK)

bench: .venv/installed services
	@$(BIN)/python bench/run.py $(BENCH)

bench-fhir: .venv/installed services
	@$(BIN)/python bench/run_fhir.py $(BENCH)

mutants: .venv/tested services
	@$(BIN)/python tests/mutants.py

services:
	@sh deploy/install-test-services.sh || [ "$$CI" != true ]

.venv/installed: pyproject.toml
	@echo "setting up .venv (once, about a minute)"
	@bash deploy/make-venv.sh $(PYTHON)
	@$(BIN)/pip install -q --disable-pip-version-check -e .
	@touch $@

.venv/tested: .venv/installed
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[test]'
	@touch $@

clean:
	@rm -rf .venv tests/clients/node_modules var build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
