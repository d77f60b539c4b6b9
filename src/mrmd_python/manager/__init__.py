"""Starts, stops, restarts and lists runtimes."""
