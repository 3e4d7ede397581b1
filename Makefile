# The project's jobs. `make layers` and `make test` need python3 (3.11 or newer) and make, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

IMPORT_EMITTED := import importlib, pkgutil, mbp.generated as emitted; \
	[importlib.import_module("mbp.generated." + module.name) \
	for module in pkgutil.iter_modules(emitted.__path__)]

.PHONY: venv layers test lint emit check bench clean

venv: $(INSTALLED)

$(INSTALLED): pyproject.toml setup.py requirements/dev.txt requirements/data.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --constraint requirements/dev.txt --editable '.[dev,examples]'
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements/data.txt
	touch $@

# The main job: derive, emit, import, verify, then train on real images.
layers: venv
	$(BIN)/mbp emit --all
	$(BIN)/python -c '$(IMPORT_EMITTED)'
	$(BIN)/mbp check --all
	$(BIN)/python -m examples.textures

# One thread for each of pytest's two workers: more would fight over the cores.
test: lint
	$(BIN)/mbp emit --all --check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: venv
	$(BIN)/ruff check .
	$(BIN)/mypy

emit: venv
	$(BIN)/mbp emit --all

check: venv
	$(BIN)/mbp check --all

# The layers beside their rivals: benchmarks/speed.json, docs/performance.md and its plot.
bench: venv
	$(BIN)/python -m pip install --quiet --constraint requirements/dev.txt --editable '.[benchmarks]'
	$(BIN)/python -m benchmarks.speed

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
