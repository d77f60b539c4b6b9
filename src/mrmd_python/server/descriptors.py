"""How many descriptors this process may have, and what its children are left.

The soft limit is by default one that select(2) can handle, which this program does not use: a program like that should
raise its own to the hard limit, and give its children back what it was (systemd.exec(5), LimitNOFILE=).
"""

import resource

_ENOUGH = 10_240
"""For a hundred sessions, what they keep, and some thousand clients; more than that macOS does not give (OPEN_MAX)."""

_given: int | None = None


def raise_limit() -> None:
    """Take as many descriptors as there may be need of, if the hard limit allows it."""
    global _given
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = _ENOUGH if hard == resource.RLIM_INFINITY else min(_ENOUGH, hard)
    if soft == resource.RLIM_INFINITY or soft >= enough:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
    except (OSError, ValueError):
        return  # then it has to do with what it has
    _given = soft


def limit_of_children() -> int:
    """Return the soft limit (getrlimit(2), RLIMIT_NOFILE) that this process was given itself."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] if _given is None else _given
