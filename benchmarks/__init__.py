"""Measures mrmd-python and its alternatives: ``python -m benchmarks``."""
