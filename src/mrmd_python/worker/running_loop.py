"""Makes the session's event loop count as running while a cell runs, so asyncio.create_task() works without `await`.

Code that runs a loop itself, such as asyncio.run(), first checks that no loop runs in its thread. asyncio and uvloop
check with `_get_running_loop` and announce their own loop with `_set_running_loop`. get_running_loop(), which all
other code calls, is written in C and does not notice that these functions are replaced.
"""

import asyncio
import os
import threading
from asyncio import events
from typing import Any, Optional

_get_running_loop, _set_running_loop = events._get_running_loop, events._set_running_loop
_set_event_loop = events.set_event_loop

Loop = asyncio.AbstractEventLoop


class RunningLoop:
    """Controls which loop the cells of the current thread see as running."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        # The session's loop during a cell, and the loop that counts as running when none does.
        self._session: Optional[Loop] = None
        self._default: Optional[Loop] = None
        # A loop that still ran when the last cell ended: Playwright's sync API leaves it so by switching greenlets.
        self._suspended: Optional[Loop] = None
        self._replace("_get_running_loop", self._get)
        self._replace("_set_running_loop", self._set)
        self._replace("set_event_loop", self._set_event_loop)
        os.register_at_fork(after_in_child=self._reset_in_child)

    @staticmethod
    def _replace(name: str, function: Any) -> None:
        for module in (asyncio, events):
            setattr(module, name, function)

    def begin_cell(self, session: Loop) -> None:
        """Make the session's loop count as running."""
        self._session = self._default = session
        suspended = self._suspended is not None and self._suspended.is_running()
        _set_running_loop(self._suspended if suspended else session)

    def end_cell(self) -> None:
        """Make no loop count as running, so that the session's can run."""
        self._suspended = self._get()
        self._session = self._default = None
        _set_running_loop(None)

    def _reset_in_child(self) -> None:
        """Let a forked child start without a loop, as asyncio does in any Python."""
        self._session = self._default = self._suspended = None
        _set_running_loop(None)

    def _get(self) -> Optional[Loop]:
        """Return the loop that really runs, not one that only counts as running."""
        loop = _get_running_loop()
        return None if loop is not None and loop is self._default and not loop.is_running() else loop

    def _set(self, loop: Optional[Loop]) -> None:
        if loop is None and threading.get_ident() == self._thread:
            loop = self._default
        _set_running_loop(loop)

    def _set_event_loop(self, loop: Optional[Loop]) -> None:
        """Set the thread's event loop. If a cell sets one, get_event_loop() must not return the session's."""
        _set_event_loop(loop)
        if threading.get_ident() == self._thread and self._get() is None:
            self._default = self._session if loop in (None, self._session) else None
            _set_running_loop(self._default)
