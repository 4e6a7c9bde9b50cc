"""Faults that really happen to an experiment, one family a module: `python -m bench.faults`."""
