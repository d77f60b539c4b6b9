"""Introspection of a session's objects without running their code: completion, hover, inspection, variables."""
