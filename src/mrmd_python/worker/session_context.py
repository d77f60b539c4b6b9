"""The context that all cells of a session share, those with `await` too: a context variable keeps its value."""

from contextvars import Context, ContextVar, copy_context
from typing import Any, Coroutine, Generator

_is_inside: "ContextVar[bool]" = ContextVar("is_inside", default=False)


def new_context() -> Context:
    """Return a context for the cells of a session."""
    context = copy_context()
    context.run(_is_inside.set, True)
    return context


def is_inside() -> bool:
    """Return whether this code runs in a session's context, or in a copy of it, as the tasks of cells do."""
    return _is_inside.get()


class InContext:
    """Awaits a coroutine each of whose steps runs in `context`, whatever context the task that awaits it has.

    From Python 3.11 on, a task can be given a context, but not one that the code which runs the event loop is in.
    """

    def __init__(self, context: Context, coroutine: "Coroutine[Any, Any, Any]") -> None:
        self._context = context
        self._coroutine = coroutine

    def __await__(self) -> "Generator[Any, Any, Any]":
        step, argument = self._coroutine.send, None
        while True:
            try:
                awaited = self._context.run(step, argument)
            except StopIteration as end:
                return end.value
            try:
                argument = yield awaited
                step = self._coroutine.send
            except BaseException as error:  # a cancellation, say, which the coroutine is to handle
                step, argument = self._coroutine.throw, error
