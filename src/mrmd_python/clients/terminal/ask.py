"""Asks for lines of input on standard input: a terminal, where passwords are not shown, a pipe or a file."""

import asyncio
import os
import termios
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from mrmd_python.clients.client import Client
from mrmd_python.clients.events import InputRequest
from mrmd_python.clients.terminal.printer import Printer

_STDIN = 0
_CHUNK = 65536


class Input:
    """Standard input, line by line."""

    def __init__(self) -> None:
        self.is_terminal = os.isatty(_STDIN)
        self._received = b""
        self._has_ended = False

    async def read_line(self, *, password: bool) -> str | None:
        """Return the next line, without its end; None at the end of input. It can be cancelled.

        On a terminal, Ctrl-D ends this one line, and the next can still be read.
        """
        is_hidden = self.is_terminal and password
        with _without_echo() if is_hidden else nullcontext():
            while b"\n" not in self._received and not self._has_ended:
                await _readable()
                data = os.read(_STDIN, _CHUNK)
                self._received += data
                if not data:
                    if self.is_terminal:
                        break
                    self._has_ended = True
        if is_hidden:
            _show_on_terminal("\n")  # the one that the user has typed is not shown either
        line, end, self._received = self._received.partition(b"\n")
        return line.decode(errors="replace") if line or end else None


async def answer(client: Client, request: InputRequest, stdin: Input, printer: Printer) -> None:
    """Ask for the line that an execution waits for, and send it; at the end of input, let the code fail.

    It can be cancelled, but a line that was read is sent.
    """
    if stdin.is_terminal and not printer.is_terminal:
        _show_on_terminal(request.prompt)
    line = await stdin.read_line(password=request.password)
    await asyncio.shield(_send(client, request, line, stdin, printer))


async def _send(client: Client, request: InputRequest, line: str | None, stdin: Input, printer: Printer) -> None:
    if line is None:
        await client.cancel_input(request.exec_id)
        return
    # A terminal with the answers of a file shows them, as a transcript does.
    if not request.password and (stdin.is_terminal or not printer.is_terminal):
        printer.expect_echo(line)
    if not await client.answer(request.exec_id, line):
        printer.forget_echo()


def _show_on_terminal(text: str) -> None:
    """Write to the terminal, wherever standard output goes."""
    descriptor = os.open(os.ctermid(), os.O_WRONLY | os.O_NOCTTY)
    try:
        os.write(descriptor, text.encode(errors="replace"))
    finally:
        os.close(descriptor)


async def _readable() -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(_STDIN, ready.set)
    except PermissionError:  # a file, which epoll refuses because it is always readable (epoll_ctl(2))
        return
    try:
        await ready.wait()
    finally:
        loop.remove_reader(_STDIN)


@contextmanager
def _without_echo() -> Iterator[None]:
    before = termios.tcgetattr(_STDIN)
    hidden = termios.tcgetattr(_STDIN)
    hidden[3] &= ~termios.ECHO
    termios.tcsetattr(_STDIN, termios.TCSADRAIN, hidden)
    try:
        yield
    finally:
        termios.tcsetattr(_STDIN, termios.TCSADRAIN, before)
