"""The keyboard while code runs: some keys act at once, and what else is typed waits for the next prompt."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from prompt_toolkit.input import Input
from prompt_toolkit.input.typeahead import get_typeahead, store_typeahead
from prompt_toolkit.key_binding import KeyPress
from prompt_toolkit.keys import Keys


@contextmanager
def watched(
    keyboard: Input, actions: Mapping[Keys, Callable[[], None]], closed: Callable[[], None]
) -> Iterator[Callable[[], None]]:
    """Call the action of each key that is pressed during the block, and `closed` if the terminal is closed.

    Yields a function to call after a prompt in the block: it takes the keys that were pressed after its Enter.
    """

    def press(keys: list[KeyPress]) -> None:
        for key in keys:
            if key.key == Keys.ControlZ:
                _suspend(keyboard)
            elif isinstance(key.key, Keys) and key.key in actions:
                actions[key.key]()
            elif key.key != Keys.CPRResponse:  # the terminal's late answer to a prompt that has ended
                store_typeahead(keyboard, [key])

    def read() -> None:
        press(keyboard.read_keys())
        if keyboard.closed:
            closed()

    def catch_up() -> None:
        press(get_typeahead(keyboard))

    # In raw mode Ctrl-C and Ctrl-D are keys, and nothing that is typed shows up between the lines of the output.
    with keyboard.raw_mode(), keyboard.attach(read):
        catch_up()
        yield catch_up


def _suspend(keyboard: Input) -> None:
    """Stop this process until the shell continues it."""
    with keyboard.cooked_mode():
        signal.raise_signal(signal.SIGTSTP)
