"""Being the process that orphans below it come to. Light: the server does this before it starts a worker."""

import ctypes
import sys

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h

_is_subreaper = False


def become_subreaper() -> None:
    """Have every orphan below this process become its child (prctl(2)), where there is such a thing: on Linux."""
    global _is_subreaper
    if sys.platform == "linux":
        _is_subreaper = True
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def is_subreaper() -> bool:
    """Return whether this is the process of a runtime's server, whose children are its sessions and their orphans."""
    return _is_subreaper
