# Each target starts from a bare Python 3.11 or newer and makes the virtual environment itself.
PYTHON ?= python3
RUN := .venv/bin/python
DEMO := dataset_dir=datasets/demo

.PHONY: demo test slow browser lint bench clean

# Task 1 (ambisonics, dMOT loss with activity branch) on 48 minutes of simulated rooms, trained for real.
demo: .venv/installed
	$(RUN) simulate_dataset.py $(DEMO) sim_recordings_per_fold=8
	$(RUN) batch_feature_extraction.py 1 $(DEMO)
	$(RUN) train_doanet.py 1 demo $(DEMO) quick_test=False --overwrite \
	    nb_epochs=36 batch_size=32 gradient_clip=1 optimizer=adamw lr_schedule=onecycle
	$(RUN) visualize_doanet_output.py 1 demo

test: .venv/installed-dev
	$(RUN) -m pytest -n 2 -m "not slow"

slow: .venv/installed-dev
	$(RUN) -m pytest -m slow

# The pages, in a headless Chromium (apt install chromium, or CHROMIUM=/path/to/chrome).
browser: .venv/installed-dev
	$(RUN) -m pytest -m slow tests/test_recording_page_browser.py tests/test_live_browser.py

lint: .venv/installed-dev
	$(RUN) -m ruff check .

bench: .venv/installed-dev
	$(RUN) benchmarks/run.py

clean:
	rm -rf .venv build *.egg-info datasets/demo results/1_demo .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.11 ...")'
	test -x $(RUN) || $(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(RUN) -m pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	touch $@
