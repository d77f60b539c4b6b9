"""What a session leaves when its reaper, too, is killed.

On Linux, a runtime's server is a child subreaper, so it inherits that. Elsewhere there is no such thing, and another
program that has sessions has children of its own; there, what a session leaves is known by its marker.
"""

import asyncio
import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from mrmd_python.runtime import ServiceError, procfs
from mrmd_python.runtime.marker import sweep

if TYPE_CHECKING:
    from psutil import Process

_log = logging.getLogger(__name__)

_PAUSE_SECONDS = 0.01
_MOST_SCANS = 100


async def end_orphans(spare: set[int]) -> None:
    """SIGKILL and reap all children of this process but the pids in `spare`, and theirs, until none is left.

    Those that have become another user's are left to themselves.
    """
    import psutil

    foreign: set[Process] = set()
    while True:
        orphans = _frozen(spare, foreign)
        if not orphans:
            return
        for orphan in orphans:
            try:
                orphan.kill()
            except psutil.AccessDenied:
                foreign.add(orphan)
            except psutil.NoSuchProcess:
                pass
            try:
                os.waitpid(orphan.pid, os.WNOHANG)  # noqa: ASYNC222 - it does not block
            except ChildProcessError:
                pass
        await asyncio.sleep(_PAUSE_SECONDS)  # a process takes a moment to die


def _frozen(spare: set[int], foreign: "set[Process]") -> "set[Process]":
    """SIGSTOP all orphans and what is below them until there are no new ones: they may fork faster than they die."""
    import psutil

    stopped: set[Process] = set()
    for _ in range(_MOST_SCANS):
        found = {child for child in psutil.Process().children() if child.pid not in spare} - foreign
        for pid in procfs.below([child.pid for child in found]):
            with suppress(psutil.NoSuchProcess):
                found.add(psutil.Process(pid))
        found -= foreign
        if found <= stopped:
            break
        for process in found - stopped:
            with suppress(psutil.Error):  # it is gone, or another user's, as the attempt to kill it will tell
                process.suspend()
        stopped |= found
    return found


async def end_marked(marker: str) -> None:
    """SIGKILL all processes that carry `marker`, and theirs, until none is left; log it if some do not end."""
    try:
        await asyncio.to_thread(sweep, marker)
    except ServiceError as error:
        _log.error("%s", error)
