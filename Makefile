# make demo    fill all 33 topics with the built-in model
# make test    lint, types and all tests, a real engine among them
# Both create the environment on first use. On a machine with a GPU: make demo GPU=1

PYTHON ?= python3
GPU ?=
VENV ?= .venv$(if $(GPU),-gpu)
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: install demo test clean

install: $(READY)

$(READY): requirements/cpu.lock requirements/install.py pyproject.toml
	$(PYTHON) requirements/install.py $(VENV) $(if $(GPU),--gpu)
	@touch $@

demo: $(READY)
	$(BIN)/evenfill run --out runs/demo --total 132 --set targets.policy=uniform

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q --durations=25

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
