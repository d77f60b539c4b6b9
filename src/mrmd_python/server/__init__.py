"""Speaks MRP around sessions. Runs no user code and imports nothing of the user's."""
