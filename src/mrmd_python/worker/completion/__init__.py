"""Completion of code, from what the session holds.

What only inference could tell is left to the server's other processes: jedi runs code of a person's classes when it
looks at live objects, takes long, and would do both in a thread that nothing can end.
"""
