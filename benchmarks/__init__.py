"""Speed as ratios to plain reference code, measured in one run; see run.py."""
