"""The console's prompt: an editor of several lines, in which Enter asks the runtime whether the code is complete."""

import asyncio
import codeop
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import suppress

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, completion_is_selected, has_focus, has_selection, is_searching
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import History
from prompt_toolkit.key_binding import KeyBindings, KeyPress, KeyPressEvent, merge_key_bindings
from prompt_toolkit.lexers import PygmentsLexer
from prompt_toolkit.styles import Style
from pygments.lexers.python import PythonLexer

from mrmd_python.clients.client import Client
from mrmd_python.clients.terminal.completer import SessionCompleter
from mrmd_python.runtime import ServiceError

_INDENT = 4
_HISTORY_CELLS = 1000
# How long Enter waits for the runtime.
_ANSWER_SECONDS = 1.0
_STYLE = Style.from_dict({"in": "ansigreen", "number": "ansigreen bold", "activity": "ansibrightblack"})
_editing = has_focus(DEFAULT_BUFFER) & ~is_searching


@Condition
def _in_indent() -> bool:
    return get_app().current_buffer.document.current_line_before_cursor.strip() == ""


@Condition
def _after_indent() -> bool:
    return _in_indent() and get_app().current_buffer.document.cursor_position_col > 0


def make_prompt(client: Client, session: str, message: Callable[[], StyleAndTextTuples]) -> "PromptSession[str]":
    """Return the prompt of a session; `message` is called each time it is drawn."""
    return PromptSession(
        message,
        lexer=PygmentsLexer(PythonLexer),
        completer=SessionCompleter(client, session),
        complete_while_typing=False,
        history=_SessionHistory(client, session),
        enable_history_search=True,
        enable_suspend=True,
        multiline=True,
        prompt_continuation=lambda width, line, wraps: "" if wraps else "...: ".rjust(width),
        key_bindings=merge_key_bindings([_enter_key(client, session), _editing_keys()]),
        style=_STYLE,
    )


class _SessionHistory(History):
    """What the session has run before, and what is entered here."""

    def __init__(self, client: Client, session: str) -> None:
        super().__init__()
        self._client = client
        self._session = session

    async def load(self) -> AsyncGenerator[str, None]:
        """Yield the cells, the newest first."""
        if not self._loaded:
            with suppress(ServiceError):
                page = await self._client.history(_HISTORY_CELLS, session=self._session)
                self._loaded_strings = [entry["code"] for entry in reversed(page["entries"])]
                self._loaded = True
        for code in list(self._loaded_strings):
            yield code

    def load_history_strings(self) -> Iterable[str]:
        """Return nothing: `load` replaces this."""
        return ()

    def store_string(self, string: str) -> None:
        """Do nothing: the session has it once it runs."""


def _enter_key(client: Client, session: str) -> KeyBindings:
    bindings = KeyBindings()
    # The keys that are pressed while Enter asks the runtime; None while it does not.
    late: list[KeyPress] | None = None

    @bindings.add("enter", filter=_editing & ~completion_is_selected)
    def enter(event: KeyPressEvent) -> None:
        nonlocal late
        document = event.current_buffer.document
        if document.line_count > 1 and document.text_after_cursor.strip():
            event.current_buffer.newline()
            return
        late = []
        code = document.text if document.line_count == 1 else document.text_before_cursor
        event.app.create_background_task(run_or_continue(event, code))

    async def run_or_continue(event: KeyPressEvent, code: str) -> None:
        nonlocal late
        try:
            is_complete, indent = await _completeness(client, session, code)
        finally:
            pressed, late = late or [], None
        if is_complete:
            event.current_buffer.validate_and_handle()
        else:
            for character in f"\n{indent}":  # a terminal that is dumb shows the last character of each change
                event.current_buffer.insert_text(character)
        event.key_processor.feed_multiple(pressed, first=True)
        event.key_processor.process_keys()
        event.app.invalidate()

    @bindings.add("<any>", filter=Condition(lambda: late is not None), eager=True)
    def keep(event: KeyPressEvent) -> None:
        assert late is not None
        late.extend(event.key_sequence)

    return bindings


def _editing_keys() -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("enter", filter=_editing & completion_is_selected)
    def take_completion(event: KeyPressEvent) -> None:
        event.current_buffer.complete_state = None

    @bindings.add("tab", filter=_editing & ~has_selection & _in_indent)
    def indent(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        buffer.insert_text(" " * (_INDENT - buffer.document.cursor_position_col % _INDENT))

    @bindings.add("backspace", filter=_editing & ~has_selection & _after_indent)
    def dedent(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        buffer.delete_before_cursor((buffer.document.cursor_position_col - 1) % _INDENT + 1)

    @bindings.add("c-c", filter=_editing)
    @bindings.add("<sigint>")
    def clear(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.complete_state is None:
            buffer.reset()
        else:
            buffer.cancel_completion()

    return bindings


async def _completeness(client: Client, session: str, code: str) -> tuple[bool, str]:
    """Return whether code can run as it is, and the indent of its next line if not."""
    try:
        found = await asyncio.wait_for(client.is_complete(code, session), _ANSWER_SECONDS)
    except (ServiceError, asyncio.TimeoutError):
        return _can_run(code), ""
    if found["status"] == "unknown":
        return _can_run(code), ""
    return found["status"] != "incomplete", found["indent"]


def _can_run(code: str) -> bool:
    try:
        return codeop.compile_command(code) is not None
    except (SyntaxError, ValueError, OverflowError):
        return True  # a magic, or an error that the runtime reports
