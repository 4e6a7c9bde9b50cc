"""Benchmarks: each module prints what it compares, a table and one JSON line."""
