"""The context shared by all cells of a session, those with `await` included, so that context variables last."""

from contextvars import Context, ContextVar, copy_context
from typing import Any, Coroutine, Generator

_is_active: "ContextVar[bool]" = ContextVar("is_active", default=False)


def new_context() -> Context:
    """Create the context for the cells of a session."""
    context = copy_context()
    context.run(_is_active.set, True)
    return context


def is_active() -> bool:
    """Return whether this code runs in a session's context or a copy of it, such as a task's."""
    return _is_active.get()


class InContext:
    """Awaits a coroutine, running each of its steps in `context`.

    From Python 3.11 on a task can have a context, but not the context that the event loop itself runs in.
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
            except BaseException as error:  # a cancellation, for example, which the coroutine handles
                step, argument = self._coroutine.throw, error
