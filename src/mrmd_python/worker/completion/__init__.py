"""Completion of code, from what the session holds: live objects first, inference for the rest."""
