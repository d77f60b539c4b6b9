"""Adds a session's text and displays to the running execution or, if there is none, to its activity and the log."""

import logging
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from mrmd_python.runtime.display_files import FileContent, file_content
from mrmd_python.server.activity import ActivityLog
from mrmd_python.server.asset_directories import AssetDirectories
from mrmd_python.server.assets import Display, SessionAssets
from mrmd_python.server.execution import Execution

_log = logging.getLogger(__name__)

# A carriage return at the end may be the first half of "\r\n".
_LINE_END = re.compile(r"\r?\n|\r(?!\n|\Z)")
_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_LONGEST_LOG_LINE = 64 * 1024


class SessionOutput:
    """The output of one session, whose relative asset directories start from `cwd`."""

    def __init__(self, session_id: str, cwd: str, assets: AssetDirectories, activity: ActivityLog) -> None:
        self._session_id = session_id
        self._cwd = cwd
        self._assets = SessionAssets(assets)
        self._activity = activity
        self._has_noted_directory = False
        # The incomplete line of each stream, written while nothing runs.
        self._partial_lines = {"stdout": "", "stderr": ""}
        # The last line logged since `begin_process`: Python's error, if it cannot start a session.
        self.last_line = ""

    def begin_process(self) -> None:
        """Forget the last line of an earlier process of the session."""
        self.last_line = ""

    def text(self, execution: Execution | None, stream: str, text: str) -> None:
        """Add text to the running execution; without one, add it to the activity, and log its lines."""
        if execution is not None:
            execution.text(stream, text)
            return
        self._activity.text(stream, text)
        *lines, rest = _LINE_END.split(self._partial_lines[stream] + text)
        if len(rest) > _LONGEST_LOG_LINE:
            lines, rest = [*lines, rest], ""
        self._partial_lines[stream] = rest
        for line in lines:
            self._write_line(stream, line)

    def end_lines(self) -> None:
        """Log the incomplete lines."""
        for stream, line in self._partial_lines.items():
            self._write_line(stream, line)
            self._partial_lines[stream] = ""

    def display(self, execution: Execution | None, display: Display) -> Coroutine[Any, Any, None] | None:
        """Add a display to the running execution; without one, add it to the activity, and log it.

        Return the coroutine that does so if it writes a file.
        """
        if execution is None:
            self._activity.display(display)
            return self._log_display(display)
        content = None if execution.cell.rich else file_content(display.data)
        if content is not None:
            return self._save(execution, display, content, execution.display)
        execution.display(display)
        return None

    def value(self, execution: Execution, value: Display) -> Coroutine[Any, Any, None] | None:
        """Add the value of the last expression, in its rich forms, as `display` does."""
        content = None if execution.cell.rich else file_content(value.data)
        if content is not None:
            return self._save(execution, value, content, execution.value)
        execution.value(value)
        return None

    async def _save(
        self, execution: Execution, display: Display, content: FileContent, add: Callable[[Display], None]
    ) -> None:
        """Save a display to a file and add that to the execution, or else `add` the display itself."""
        cell = execution.cell
        directory = None if cell.asset_dir is None else Path(self._cwd, cell.asset_dir)
        try:
            asset = await self._assets.save(display, content, directory, cell.exec_id, execution.asset_count + 1)
        except OSError as error:
            problem = f"a display cannot be written to {error.filename}: {error.strerror}"
            execution.text("stderr", f"mrmd-python: {problem}\n")
            add(display)
            return
        if asset.note is not None and not self._has_noted_directory:
            self._has_noted_directory = True
            execution.text("stderr", f"mrmd-python: note: {asset.note}\n")
        execution.asset(asset)

    async def _log_display(self, display: Display) -> None:
        """Log a display as text; if it updates one that was saved to a file, replace the file."""
        content = file_content(display.data)
        try:
            if content is not None:
                await self._assets.update(display, content)
        except OSError as error:
            _log.warning("session %s: an update of a display cannot be written: %s", self._session_id, error.strerror)
        for line in str(display.data.get("text/plain", ", ".join(display.data))).splitlines():
            self._write_line("display", line)

    def _write_line(self, source: str, line: str) -> None:
        line = _ESCAPE_SEQUENCE.sub("", line).rstrip()
        if line:
            self.last_line = line.lstrip()
            _log.info("session %s, %s: %s", self._session_id, source, line)
