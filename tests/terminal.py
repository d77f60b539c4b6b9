"""A terminal: a window of tmux in which a program runs, where keys are pressed and the screen is read."""

import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from tests.machine import Machine, wait_until

_ENDED = "[exit status "
# Shows the status and the mode that the program leaves the terminal in, and keeps the window open.
_SHELL = f'"$@"; echo "{_ENDED}$? $(stty -a | grep -ow -e -icanon -e icanon)]"; read end_of_window'


@dataclass
class Terminal:
    """A window of a tmux server of its own."""

    machine: Machine
    socket: str

    def tmux(self, *arguments: str) -> str:
        """Run a command of tmux that must succeed, and return what it prints."""
        done = self.machine.run("tmux", "-S", self.socket, "-f", "/dev/null", *arguments)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    def type(self, text: str) -> None:
        """Type text."""
        self.tmux("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        """Press keys, by their names in tmux."""
        self.tmux("send-keys", *keys)

    def enter(self, *lines: str) -> None:
        """Type lines, each with Enter."""
        for line in lines:
            self.type(line)
            self.press("Enter")

    def paste(self, text: str) -> None:
        """Paste text, as a terminal does."""
        self.tmux("set-buffer", text)
        self.tmux("paste-buffer", "-p")

    @property
    def screen(self) -> str:
        """All lines, also those that have scrolled off, joined where they wrap, without spaces at their ends."""
        lines = self.tmux("capture-pane", "-p", "-J", "-S", "-").splitlines()
        return "\n".join(line.rstrip() for line in lines)

    def wait_for(self, *texts: str) -> str:
        """Wait until texts are on the screen; return the screen."""
        try:
            wait_until(lambda: all(text in self.screen for text in texts), f"the screen has {texts}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.screen}") from None
        return self.screen

    def wait_for_end(self) -> int:
        """Wait until the program ends, which must restore the terminal; return its status, as a shell reports it."""
        self.wait_for(_ENDED)
        status, mode = self.screen.rpartition(_ENDED)[2].rstrip("]\n").split()
        assert mode == "icanon"
        return int(status)

    def process(self) -> psutil.Process:
        """Return the process of the program."""
        (program,) = psutil.Process(int(self.tmux("display", "-p", "#{pane_pid}"))).children()
        return program


@contextmanager
def terminal(
    machine: Machine, *command: str, columns: int = 100, rows: int = 40, env: dict[str, str] | None = None
) -> Iterator[Terminal]:
    """Run a command in a terminal, which is closed after the block."""
    with tempfile.TemporaryDirectory(prefix="tmux-") as directory:  # a short path: that of a socket has 107 bytes
        opened = Terminal(machine, f"{directory}/socket")
        size = ("-x", str(columns), "-y", str(rows))
        program = (
            "env",
            *(f"{name}={value}" for name, value in (env or {}).items()),
            "sh",
            "-c",
            _SHELL,
            "sh",
            *command,
        )
        opened.tmux("new-session", "-d", *size, shlex.join(program))
        try:
            yield opened
        finally:
            machine.run("tmux", "-S", opened.socket, "kill-server")
