# Each target starts from a bare Python 3.11 or newer and creates the virtual environment itself.
PYTHON ?= python3
RUN := .venv/bin/python
DEMO := dataset_dir=datasets/demo

.PHONY: demo test slow fuzz browser lint bench clean

# Trains the recommended task on 48 minutes of simulated recordings, compares it with a classical baseline, and localizes
# one of the recordings with the shipped model.
demo: .venv/installed
	$(RUN) simulate_dataset.py $(DEMO) sim_recordings_per_fold=8
	$(RUN) batch_feature_extraction.py 22 $(DEMO)
	$(RUN) train_doanet.py 22 demo $(DEMO) --full --overwrite nb_epochs=24
	$(RUN) visualize_doanet_output.py 22 demo --count 1
	$(RUN) evaluate_doanet.py --baseline intensity $(DEMO) --jobs 2 --out results/baseline_demo > results/22_demo/baseline.txt
	$(RUN) localize.py datasets/demo/foa_dev/fold1_room1_mix001_ov2.wav --out results/22_demo/localized --overwrite
	@echo; echo "Scores on the test fold (unseen rooms and sounds); intensity is a classical baseline:"
	$(RUN) compare_runs.py results/22_demo results/baseline_demo
	@echo; echo "See the results:"
	@echo "  results/22_demo/pictures/fold1_room1_mix001_ov2.png       predictions of the network trained here, and references"
	@echo "  results/22_demo/localized/fold1_room1_mix001_ov2.png      tracks of the shipped model for the same recording"
	@echo "  results/22_demo/training_curve.png                        losses and scores during the training"
	@echo "Localize a recording of your own: $(RUN) localize.py recording.wav"

test: .venv/installed-dev
	$(RUN) -m pytest -n 2 --dist loadgroup -m "not slow"

slow: .venv/installed-dev
	$(RUN) -m pytest -m slow

# Tests all scripts with damaged, foreign and hostile input (about 15 minutes); prints how to reproduce each fault.
fuzz: .venv/installed-dev
	PYTHONPATH=.:tests OMP_NUM_THREADS=1 $(RUN) -m fuzzing --inputs 1500

# Tests the HTML pages in a headless Chromium (apt install chromium, or CHROMIUM=/path/to/chrome).
browser: .venv/installed-dev
	$(RUN) -m pytest -m slow tests/test_recording_page_browser.py tests/test_live_browser.py

lint: .venv/installed-dev
	$(RUN) -m ruff check .

bench: .venv/installed-dev
	$(RUN) benchmarks/run.py

clean:
	rm -rf .venv build *.egg-info datasets/demo results/22_demo results/baseline_demo .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.11 ...")'
	test -x $(RUN) || $(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(RUN) -m pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	touch $@
