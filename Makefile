# alprd: `make run` shows it working, `make test` proves it. Everything else is for developers.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCE ?=
# Real photographs with annotations; they are no part of the repository.
DATA ?= ../shared/data
ARGS ?=
# Asked for by running them: behind pyenv's shims tox alone would not find them.
INTERPRETERS = $(shell for v in 3.10 3.11 3.12; do \
	python$$v -c 'import sys; print(sys.executable)' 2>/dev/null; done)

.PHONY: help run test check lint accuracy format quick soak clean deb deb-matrix deb-arm64 apt-repo kernels lock

help: ## this text
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

# A camera's password may hold $ and quotes: it goes through the environment as it is, and neither
# make nor the shell looks into it.
unexport SOURCE
run: export DEMO_SOURCE = $(value SOURCE)
run: $(BIN)/alprd ## show alprd at work (SOURCE=clip.mp4 or an RTSP URL for your own input)
	@$(BIN)/alprd demo --out demo-out -- $${DEMO_SOURCE:+"$$DEMO_SOURCE"}

test: $(VENV)/.test ## install what the tests need, then `make check`
	@$(MAKE) --no-print-directory check

# NVIDIA builds it for x86-64 alone. Apart from the environment: tests see it, alprd never does.
RTX := $(if $(filter x86_64,$(shell uname -m)),$(VENV)/tensorrt-rtx)

TOX_ENVS = waiting,py311,py312,py310

# What waits runs beside what computes, each in a stream of its own, and is told when it is done.
check: $(VENV)/.dev $(RTX) lint ## lint, then the whole suite from the built wheel on every Python here
	@accuracy=,accuracy; \
	if [ ! -f $(DATA)/boxes.csv ]; then \
		accuracy= why="there are no photographs in $(DATA)"; \
	elif ! $(BIN)/python -c 'import tomllib' 2>/dev/null; then \
		accuracy= why="it needs Python 3.11 (make test PYTHON=python3.11)"; \
	fi; \
	$(if $(RTX),ALPRD_TEST_TENSORRT_RTX=$(abspath $(RTX))) \
		ALPRD_TEST_ONCE=$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])') \
		$(BIN)/tox run-parallel --parallel 2 --parallel-no-spinner \
		-e $(TOX_ENVS)$$accuracy \
		$(if $(INTERPRETERS),--discover $(INTERPRETERS)) || exit; \
	[ -n "$$accuracy" ] || echo "Accuracy was not measured: $$why."

lint: $(VENV)/.dev ## formatting, lint, types and import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

accuracy: $(VENV)/.accuracy ## measure the models on real photographs; fails when one got worse
	@$(BIN)/python -m engines.training.accuracy --data $(DATA) $(ARGS)

format: $(VENV)/.dev ## let ruff format and mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

quick: $(VENV)/.dev ## the suite on the working tree, without system tests
	@$(BIN)/pytest tests/unit tests/adapters -q

# What stands for a finished installation lies inside the virtual environment: both go together.
$(BIN)/alprd: packaging/system-packages packaging/virtualenv pyproject.toml
	@packaging/system-packages run "$(PYTHON)"
	@packaging/virtualenv "$(PYTHON)" $(VENV) .
	@touch $@

$(VENV)/.dev: packaging/system-packages packaging/virtualenv pyproject.toml
	@packaging/system-packages run "$(PYTHON)"
	@packaging/virtualenv "$(PYTHON)" $(VENV) . --group lint --group test
	@touch $(BIN)/alprd $@

$(VENV)/.test: packaging/system-packages $(VENV)/.dev
	@packaging/system-packages test "$(PYTHON)"
	@touch $@

$(VENV)/tensorrt-rtx: pyproject.toml | $(VENV)/.dev
	@echo "Installing TensorRT-RTX's builder into $@ (95 MB) ..."
	@rm -rf $@
	@$(BIN)/python -m pip install -q --disable-pip-version-check --target $@ --group tensorrt-rtx
	@touch $@

soak: $(VENV)/.test ## the long versions of tests (faults, damaged lines): 45 minutes, real broker
	@OMP_NUM_THREADS=1 $(BIN)/pytest tests -m soak

$(VENV)/.accuracy: packaging/system-packages packaging/virtualenv pyproject.toml
	@packaging/system-packages accuracy "$(PYTHON)"
	@packaging/virtualenv "$(PYTHON)" $(VENV) . --group accuracy
	@touch $(BIN)/alprd $@

# Debian's interpreter, whatever PYTHON is: the packages are for it.
deb: ## Debian packages for this distribution, in dist/ (ARGS="--version 0.1.1")
	@packaging/system-packages deb /usr/bin/python3
	@packaging/build-deb $(ARGS)

deb-matrix: ## as root: packages for other releases, in dist/SUITE-ARCH (ARGS="trixie/amd64 ...")
	@packaging/build-matrix $(ARGS)

deb-arm64: ## as root: the arm64 packages, built and tried in an emulated bookworm; an hour
	@packaging/build-matrix bookworm/arm64
	@packaging/try-packages bookworm/arm64

apt-repo: ## add DEBS (dist/*.deb) to a signed repository (REPO=folder KEY=who signs)
	@packaging/apt-repo "$(REPO)" "$(KEY)" $(DEBS)

kernels: $(VENV)/.dev ## compile alprd/inference/kernels.cu for every GPU; needs none
	@$(BIN)/python packaging/build-kernels

lock: $(VENV)/.dev ## newest releases of what the packages contain, with hashes, in packaging/locks
	@$(BIN)/python -m pip install -q uv
	@$(BIN)/python packaging/lock

clean: ## forget everything that was built or installed here
	rm -rf $(VENV) .tox dist build demo-out .mypy_cache .ruff_cache .pytest_cache .hypothesis
