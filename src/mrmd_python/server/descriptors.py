"""The limit on open descriptors, of this process and of its children.

The default soft limit exists for programs that use select(2). Others should raise theirs, and restore it for their
children (systemd.exec(5), LimitNOFILE=).
"""

import resource

# Enough for a hundred sessions, their logs, and some thousand clients. It is the most that macOS allows (OPEN_MAX).
_ENOUGH = 10_240

# The soft limit before `raise_limit`.
_original: int | None = None


def raise_limit() -> None:
    """Raise the soft limit, as far as the hard limit allows."""
    global _original
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = _ENOUGH if hard == resource.RLIM_INFINITY else min(_ENOUGH, hard)
    if soft == resource.RLIM_INFINITY or soft >= enough:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
    except (OSError, ValueError):
        return  # the server works with fewer, too
    _original = soft


def limit_of_children() -> int:
    """Return the soft limit of RLIMIT_NOFILE (getrlimit(2)) that this process was started with."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] if _original is None else _original
