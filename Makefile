# alprd: `make run` shows it working, `make test` proves it. Everything else is for developers.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCE ?=

.PHONY: help run test check lint format quick clean

help: ## this text
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

run: .setup/run ## show alprd at work (SOURCE=clip.mp4 or an RTSP URL for your own input)
	@$(BIN)/alprd demo --out demo-out $(if $(SOURCE),"$(SOURCE)")

test: .setup/test ## install what the tests need, then `make check`
	@$(MAKE) --no-print-directory check

check: .setup/dev lint ## lint, then the whole suite from the built wheel on every Python here
	@$(BIN)/tox run $(if $(TOX_ENV),-e $(TOX_ENV))

lint: .setup/dev ## formatting, lint, types and import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

format: .setup/dev ## let ruff format and mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

quick: .setup/dev ## the suite on the working tree, without system tests
	@$(BIN)/pytest tests/unit tests/adapters -q

.setup/run: packaging/system-packages pyproject.toml
	@packaging/system-packages run
	@packaging/virtualenv "$(PYTHON)" $(VENV) .
	@mkdir -p .setup && touch $@

.setup/dev: packaging/system-packages pyproject.toml
	@packaging/system-packages run
	@packaging/virtualenv "$(PYTHON)" $(VENV) . --group lint --group test
	@mkdir -p .setup && touch $@ .setup/run

.setup/test: packaging/system-packages
	@packaging/system-packages test
	@mkdir -p .setup && touch $@

clean: ## forget everything that was built or installed here
	rm -rf $(VENV) .setup .tox dist build demo-out .mypy_cache .ruff_cache .pytest_cache .hypothesis
