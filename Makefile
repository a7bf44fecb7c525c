# make run    a satellite from a bare clone: sets up what is missing, then listens
# make test   make check, then the tests
# make check  lint and types
# make bench  what hearing costs here, beside other engines
# make test-long      the laws of the engine on thousands of random graphs, other ones every time
# make satellites     how long a detection takes, and 200 satellites on one broker (SECONDS=300 for five minutes)
# make onnx-coverage  which of the ONNX project's own cases the engine passes, by op
# make wheels         wheels for the boards, compiled here, into dist/
# make deb            Debian packages for the boards, into dist/
# make test-pi        the package on an emulated Pi Zero and an emulated 64-bit board (as root; the first time, an hour)
# make bench-pi       what hearing costs on a Pi Zero, estimated by an emulator of its processor
# make clean  remove what the other targets made

CONFIG ?= config/demo.yaml
PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
# A system upgrade that brings another Python breaks the environment, so the stamps carry its version.
VERSION := $(subst $() ,-,$(shell $(PYTHON) --version 2>&1))
RUN_READY := $(VENV)/ready-run-$(VERSION)
TEST_READY := $(VENV)/ready-test-$(VERSION)
SETUP := deploy/setup.sh pyproject.toml setup.py $(wildcard $(foreach room,daemon pulse,$(room)/kernels/*.[ch] $(room)/kernels/build.py))

.PHONY: help run test test-long check bench satellites onnx-coverage wheels deb test-pi bench-pi clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# //p' Makefile | head -n 12

run: $(RUN_READY)
	@exec $(BIN)/wakepulse run --config $(CONFIG)

test: check
	$(BIN)/python -m pytest -q

test-long: $(TEST_READY)
	EXAMPLES=5000 $(BIN)/python -m pytest -q tests/test_streaming.py tests/test_streams.py

SECONDS ?= 20
satellites: $(TEST_READY)
	$(BIN)/python -m tests.satellites --seconds $(SECONDS)

onnx-coverage: $(TEST_READY)
	$(BIN)/python -m tests.coverage_onnx

check: $(TEST_READY)
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(TEST_READY)
	$(BIN)/wakepulse bench --peers

wheels: $(TEST_READY)
	$(BIN)/python -m deploy.wheels

deb: $(TEST_READY)
	$(BIN)/python -m deploy.deb
	lintian --fail-on error --suppress-tags no-manual-page dist/wakepulse_*.deb

test-pi: $(TEST_READY)
	sh deploy/setup.sh boards
	$(BIN)/python -m deploy.boards

bench-pi: $(TEST_READY)
	$(BIN)/python -m tests.pi_zero

$(RUN_READY): $(SETUP)
	PYTHON=$(PYTHON) sh deploy/setup.sh run
	@touch $@

$(TEST_READY): $(SETUP)
	PYTHON=$(PYTHON) sh deploy/setup.sh test
	@touch $@ $(RUN_READY)

clean:
	rm -rf $(VENV) .cache build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
