"""What the command line, the manager and the server share about a runtime: spec, files, processes, interpreter.

Nothing here starts a runtime.
"""


class ServiceError(Exception):
    """An error to show to the user, in one or two lines: what failed, and how to fix it."""
