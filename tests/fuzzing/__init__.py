"""Fuzzing: every script on damaged, foreign and hostile input, with checks of what it does then.

``world`` makes valid input, ``mutations`` damages it, ``cases`` says which script reads it, ``runner`` runs and checks
them. ``make fuzz`` runs all of them; tests/test_fuzz.py runs a few of each kind.
"""
