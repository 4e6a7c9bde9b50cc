"""Benchmarks: each module prints a table and one JSON line, and says what it compared."""
