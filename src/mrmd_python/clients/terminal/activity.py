"""What others run in the console's session, in one line each."""

import os
import shutil
from datetime import datetime

from prompt_toolkit.utils import get_cwidth

from mrmd_python.clients.events import Ended, Execution, Started
from mrmd_python.runtime.printable import printable

_SHORTEST_CODE = 10


class Activity:
    """The executions of other clients.

    Attributes:
        shown: the ids of the executions that this console shows in full.
        running: what runs now, by whomever.
    """

    def __init__(self) -> None:
        self.shown: set[str] = set()
        self.running: Execution | None = None

    def take(self, event: Execution) -> str | None:
        """Take note of an event; return a line about it, if it is the end of what another client has run."""
        if isinstance(event, Started):
            self.running = event
        if not isinstance(event, Ended):
            return None
        self.has_ended(event.exec_id)
        if event.exec_id in self.shown:
            return None
        return line(event, _outcome(event))

    def has_ended(self, exec_id: str) -> None:
        """Take note that an execution does not run any more."""
        if self.running is not None and self.running.exec_id == exec_id:
            self.running = None

    @property
    def others(self) -> Execution | None:
        """What another client runs now."""
        if self.running is None or self.running.exec_id in self.shown:
            return None
        return self.running


def line(execution: Execution, state: str) -> str:
    """Return a line with who runs what, shortened to the terminal's width, and its state."""
    room = shutil.get_terminal_size().columns - get_cwidth(state) - 3
    return f"{_fitting(summary(execution.client, execution.code), max(room, _SHORTEST_CODE))}  {state}"


def dim(text: str) -> str:
    """Return a text that is dim where the terminal shows colors."""
    if "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[2m{text}\x1b[22m"


def summary(client: str | None, code: str) -> str:
    """Return who runs what, in a line."""
    first, _, rest = code.strip().partition("\n")
    return printable(f"{client or 'someone'}: {first}{' …' if rest else ''}")


def _fitting(text: str, columns: int) -> str:
    """Return text, cut off to fit into a number of columns."""
    while get_cwidth(text) > columns:
        text = f"{text.removesuffix('…')[:-1]}…"
    return text


def _outcome(execution: Ended) -> str:
    outcome = "done" if execution.state == "done" else "failed"
    if execution.started is None or execution.ended is None:
        return outcome
    taken = datetime.fromisoformat(execution.ended) - datetime.fromisoformat(execution.started)
    return f"{outcome}, {taken.total_seconds():.1f} s"
