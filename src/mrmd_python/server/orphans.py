"""What a session leaves when its reaper, too, is killed.

On Linux, a runtime's server is a child subreaper, so it inherits that. Elsewhere there is no such thing, and another
program that has sessions has children of its own; there, what a session leaves is known by its marker.
"""

import asyncio
import logging
import os

from mrmd_python.service.errors import ServiceError
from mrmd_python.service.marker import sweep

_log = logging.getLogger(__name__)

_PAUSE_SECONDS = 0.01


async def end_orphans(spare: set[int]) -> None:
    """SIGKILL and reap all children of this process but the pids in `spare`, and theirs, until none is left.

    Those that have become another user's are left to themselves.
    """
    import psutil

    foreign: set[psutil.Process] = set()
    while True:
        orphans = {child for child in psutil.Process().children() if child.pid not in spare} - foreign
        if not orphans:
            return
        for orphan in orphans:
            try:
                for process in (*orphan.children(recursive=True), orphan):
                    process.kill()
            except psutil.AccessDenied:
                foreign.add(orphan)
            except psutil.NoSuchProcess:
                pass
            try:
                os.waitpid(orphan.pid, os.WNOHANG)  # noqa: ASYNC222 - it does not block
            except ChildProcessError:
                pass
        await asyncio.sleep(_PAUSE_SECONDS)  # a process takes a moment to die


async def end_marked(marker: str) -> None:
    """SIGKILL all processes that carry `marker`, and theirs, until none is left; log it if some do not end."""
    try:
        await asyncio.to_thread(sweep, marker)
    except ServiceError as error:
        _log.error("%s", error)
