"""Speed as ratios against plain reference code, measured in one run; see run.py."""
