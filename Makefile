# make demo and make test set everything up by themselves; Python >= 3.10, pip and make are all they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

TRACKERS := .venv-trackers

.PHONY: demo test coverage test-fast test-trackers lint bench clean

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	touch $@

demo: $(INSTALLED)        ## fine-tune a small model with the monitor attached and write the report
	$(BIN)/layerscope demo $(ARGS)

test: $(INSTALLED)        ## the whole suite
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

coverage: $(INSTALLED)    ## the same and which lines it runs; tracing them takes as long again
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term $(ARGS)

test-fast: $(INSTALLED)   ## what takes a second or less each: a first answer while working
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not distributed and not browser" $(ARGS)

# On top of the other environment, which stays without them.
$(TRACKERS)/.installed: $(INSTALLED)
	$(PYTHON) -m venv --upgrade-deps $(TRACKERS)
	$(BIN)/python -c "import site; print(site.getsitepackages()[0])" > \
		$$($(TRACKERS)/bin/python -c "import site; print(site.getsitepackages()[0])")/main-environment.pth
	$(TRACKERS)/bin/python -m pip install -q -c constraints.txt -e ".[trackers]"
	touch $@

test-trackers: $(TRACKERS)/.installed  ## trackers that run without a network, by their own libraries
	LAYERSCOPE_TRACKERS=1 $(TRACKERS)/bin/python -m pytest -W default tests/sinks/trackers $(ARGS)

lint: $(INSTALLED)        ## style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED)       ## measure speed and overhead; see benchmarks/README.md
	for file in benchmarks/bench_*.py benchmarks/similarity.py benchmarks/extraction.py benchmarks/overhead.py; do \
		if [ -f $$file ]; then $(BIN)/python $$file || exit 1; fi; done

clean:                    ## remove what make created, never what a run wrote
	rm -rf $(VENV) $(TRACKERS) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
