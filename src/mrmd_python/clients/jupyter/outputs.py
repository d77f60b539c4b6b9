"""What a front end shows of an execution: MRP's events as Jupyter's messages.

https://jupyter-client.readthedocs.io/en/stable/messaging.html
"""

import asyncio
import base64
import sys
from typing import Any

from ipykernel.kernelbase import Kernel

from mrmd_python.clients.client import Client
from mrmd_python.clients.events import (
    Asset,
    ClearOutput,
    Display,
    Error,
    ExecutionEvent,
    Result,
    Stderr,
    Stdout,
)

_TEXT = "text/plain"
# How long a line that is not complete is kept: it may be a prompt.
_KEPT_SECONDS = 0.15
# The view of a widget, whose model a front end would ask for through a comm. Without it, it shows the text.
_WIDGET = "application/vnd.jupyter.widget-view+json"


class Outputs:
    """Sends the output of a cell to the front ends.

    Text goes through ipykernel's sys.stdout and sys.stderr. They join what is written within 0.2 seconds, so that a
    notebook gets as many outputs as from ipykernel.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        # Displays that came after the value of the last expression, which comes with the result.
        self._late: list[Display] = []
        # The incomplete last line of stdout, and what will show it.
        self._line = ""
        self._timer: asyncio.TimerHandle | None = None

    def note(self, lines: list[str]) -> None:
        """Show lines to the user, before what the cell writes."""
        sys.stderr.write("".join(f"{line}\n" for line in lines))
        sys.stderr.flush()

    async def show(self, event: ExecutionEvent, client: Client, *, rich: bool) -> None:
        """Show an event of an execution.

        Args:
            event: the event.
            client: the client to get files with.
            rich: whether the execution is: its text leaves out displays, the last expression and errors.
        """
        self._show_line()
        match event:
            case Stdout():
                self.write(event.content)
            case Stderr():
                sys.stderr.write(event.content)
            case ClearOutput():
                self.send("clear_output", {"wait": event.wait})
            case Display(late=True):
                self._late.append(event)
            case Display() if rich or _TEXT not in event.data:
                self._display(event, event.data)
            case Asset():
                content = await client.asset(event.url)
                self._display(event, {**event.data, event.mime_type: _as_json(event.mime_type, content)})
            case Result():
                self._value(event)
                self._show_late()
            case Error():
                self._show_late()
                if rich:
                    self.error(event)

    def write(self, text: str) -> None:
        """Write text to stdout; its last line a little later, if it is not complete."""
        lines, end, self._line = text.rpartition("\n")
        sys.stdout.write(lines + end)
        if self._line:
            self._timer = asyncio.get_running_loop().call_later(_KEPT_SECONDS, self._show_line)

    def take_prompt(self, prompt: str) -> str:
        """Return a prompt if it is the end of the text and is not shown yet; then it is not part of it any more."""
        taken = prompt if self._line.endswith(prompt) else ""
        self._line = self._line.removesuffix(prompt)
        self._show_line()
        return taken

    def error(self, error: Error) -> None:
        """Show an error."""
        self.send("error", error_content(error))

    def send(self, kind: str, content: dict[str, Any]) -> None:
        """Send a message to the front ends, after the text that was written before."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._kernel.send_response(self._kernel.iopub_socket, kind, content)

    def _display(self, event: Display | Asset, data: dict[str, Any]) -> None:
        self.send(
            "update_display_data" if event.update else "display_data",
            {
                "data": _without_widget(data),
                "metadata": event.metadata,
                "transient": {} if event.display_id is None else {"display_id": event.display_id},
            },
        )

    def _show_line(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        sys.stdout.write(self._line)
        self._line, self._timer = "", None

    def _value(self, result: Result) -> None:
        if result.data is not None:
            self.send(
                "execute_result",
                {
                    "data": _without_widget(result.data),
                    "metadata": result.metadata or {},
                    "execution_count": result.execution_count,
                },
            )

    def _show_late(self) -> None:
        late, self._late = self._late, []
        for display in late:
            self._display(display, display.data)


def error_content(error: Error) -> dict[str, Any]:
    """Return an error as messages have it. Front ends show only its traceback."""
    traceback = error.ansi_traceback or error.traceback or [f"{error.type}: {error.message}"]
    return {"ename": error.type, "evalue": error.message, "traceback": traceback}


def _without_widget(data: dict[str, Any]) -> dict[str, Any]:
    return {mime: form for mime, form in data.items() if mime != _WIDGET or _TEXT not in data}


def _as_json(mime_type: str, content: bytes) -> str:
    """Return the content of a file as a MIME bundle has it: text, or base64."""
    is_text = mime_type.startswith("text/") or mime_type == "image/svg+xml"
    return content.decode(errors="replace") if is_text else base64.b64encode(content).decode()
