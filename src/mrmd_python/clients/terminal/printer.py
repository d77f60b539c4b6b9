"""Prints the events of an execution: text as it comes, displays as text or files."""

import os
from pathlib import Path

from mrmd_python.clients.events import Asset, ClearOutput, Display, Error, Event, Result, Stderr, Stdin, Stdout
from mrmd_python.clients.terminal.display_files import DisplayFiles
from mrmd_python.clients.terminal.pictures import inline_picture
from mrmd_python.clients.terminal.streams import Stream, open_streams
from mrmd_python.runtime.display_files import FileContent, file_content
from mrmd_python.runtime.registry import Record

# Erases the line of the cursor (ECMA-48, EL).
_CLEAR_LINE = "\r\x1b[K"


class Printer:
    """Prints one execution, on a terminal or into pipes."""

    def __init__(self, record: Record, exec_id: str, *, rich: bool) -> None:
        """Print an execution.

        Args:
            record: the runtime.
            exec_id: the execution.
            rich: whether it was requested with `rich`: its displays, value and error are not part of its text.
        """
        self._rich = rich
        self._stdout, self._stderr = open_streams()
        # What the terminal has shown already, and comes back as text.
        self._echo: str | None = None
        self._clear_before_output = False
        self._files = DisplayFiles(record, exec_id)
        self._shown_paths: set[Path] = set()

    @property
    def is_terminal(self) -> bool:
        """Whether standard output is a terminal."""
        return self._stdout.is_terminal

    async def show(self, event: Event) -> None:
        """Print an event, if there is anything to print.

        Raises:
            OSError: nobody reads the output any more.
        """
        match event:
            case Stdout():
                await self._write(self._stdout, event.content if self._rich else self._without_echo(event.content))
            case Stdin() if self._stdout.is_terminal:
                await self._write(self._stdout, self._without_echo(event.content))
            case Stderr():
                await self._write(self._stderr, event.content)
            case Asset():
                await self._show_file(Path(event.path), _content_of(event) if self._stdout.is_terminal else None)
            case Display() if self._rich:
                await self._show_display(event)
            case Result() if self._rich and event.data:
                await self._show_display(Display(data=event.data, metadata=event.metadata or {}))
            case ClearOutput() if self._stdout.is_terminal:
                self._clear_before_output = True
                if not event.wait:
                    await self._write(self._stdout, "")
            case Error() if self._rich or not event.traceback:
                await self._show_error(event)

    def expect_echo(self, line: str) -> None:
        """Leave a line of input out of the output: it is on the terminal, where the user has typed it."""
        self._echo = f"{line}\n"
        self._stdout.at_line_start = True

    def forget_echo(self) -> None:
        """Undo `expect_echo`: the line was not accepted."""
        self._echo = None

    def _without_echo(self, text: str) -> str:
        if self._echo is not None and self._echo in text:
            text, self._echo = text.replace(self._echo, "", 1), None
        return text

    async def _write(self, stream: Stream, text: str) -> None:
        if self._clear_before_output:
            self._clear_before_output = False
            text = _CLEAR_LINE + text
        await stream.write(text)

    async def write_line(self, text: str) -> None:
        """Write a line to standard output."""
        await self._write_line(self._stdout, text)

    async def note(self, text: str) -> None:
        """Print a line of the command itself to standard error."""
        await self._write_line(self._stderr, f"mrmd-python: {text}")

    async def end_line_of_ctrl_c(self) -> None:
        """Begin a new line where the terminal has shown ``^C``."""
        if self._stderr.is_terminal:
            await self._stderr.write("\n")

    async def _write_line(self, stream: Stream, text: str) -> None:
        """Write a line of its own, which does not begin in the middle of another."""
        start = "" if stream.at_line_start else "\n"
        await self._write(stream, f"{start}{text}\n")

    async def _show_display(self, display: Display) -> None:
        content = file_content(display.data)
        if content is not None:
            try:
                path = self._files.save(display, content)
            except OSError as error:
                await self.note(f"a display cannot be saved to {error.filename}: {error.strerror}")
            else:
                await self._show_file(path, content)
                return
        await self._write_line(self._stdout, str(display.data.get("text/plain", f"<{', '.join(display.data)}>")))

    async def _show_file(self, path: Path, content: FileContent | None) -> None:
        """Show a file inline or, once, print its path: updates of a display replace its file."""
        shown = inline_picture(content, os.environ) if content is not None and self._stdout.is_terminal else None
        if shown is not None:
            if not self._stdout.at_line_start:
                await self._write(self._stdout, "\n")
            await self._stdout.write_bytes(shown)
        elif path not in self._shown_paths:
            self._shown_paths.add(path)
            await self._write_line(self._stdout, str(path))

    async def _show_error(self, error: Error) -> None:
        in_color = self._stderr.is_terminal and "NO_COLOR" not in os.environ
        lines = (error.ansi_traceback if in_color else []) or error.traceback or [f"{error.type}: {error.message}"]
        await self._write_line(self._stderr, "\n".join(lines))


def _content_of(asset: Asset) -> FileContent | None:
    try:
        return FileContent(asset.mime_type, Path(asset.path).read_bytes())
    except OSError:  # it is on another machine, or gone
        return None
