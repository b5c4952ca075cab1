# Each target starts from a bare Python 3.11 and makes the virtual environment itself.
PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python

.PHONY: demo test slow lint bench clean

demo: .venv/installed
	PYTHON=$(RUN) ./demo.sh

test: .venv/installed-dev
	$(RUN) -m pytest -n 2 -m "not slow"

slow: .venv/installed-dev
	$(RUN) -m pytest -m slow

lint: .venv/installed-dev
	$(BIN)/ruff check .

bench: .venv/installed-dev
	$(RUN) benchmarks/run.py

clean:
	rm -rf .venv datasets/demo results/demo .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/installed: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	test -x $(RUN) || $(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --requirement requirements.txt
	touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(RUN) -m pip install --quiet --requirement requirements-dev.txt
	touch $@
