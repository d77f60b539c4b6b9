"""Answers about a session's objects, which run none of their code: completion, hover, inspection, variables."""
