"""Inference and formatting of code, without running it, in a separate process because they may hang."""
