"""Fault injection into real experiments, one module per family of faults: `python -m bench.faults`."""
