"""Runs the command, or the server that it started, and prints errors as one line."""

import gc
import os
import signal
import sys
from typing import Any, NoReturn

from mrmd_python.runtime import ServiceError
from mrmd_python.runtime.printable import printable_lines


def main() -> NoReturn:
    """Run the command and exit: with 0, 2 for a usage error, or 1 for any other error, which is a line on stderr."""
    gc.disable()  # what is imported is no garbage
    _open_standard_streams()
    _handle_ctrl_c(signal.default_int_handler)
    status = 1
    try:
        status = _run(sys.argv[1:])
        sys.stdout.flush()
    except ServiceError as error:
        _print_error(str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _print_error(f"{where}{error.strerror or error}")
    _handle_ctrl_c(signal.SIG_DFL)  # the action is complete: end without a traceback
    os._exit(status)  # to finalize the interpreter would take longer than many actions


def _run(arguments: list[str]) -> int:
    """Run the command and return its exit status."""
    if arguments[:1] == ["--foreground"]:
        from mrmd_python.cli import serve

        options = serve.parse(arguments[1:])
        if options is not None:
            serve.serve(options)
            return 0
    from mrmd_python.cli import command  # a server does not need click, whose import would delay its start

    gc.freeze()
    gc.enable()
    return command.run()


def _print_error(text: str) -> None:
    print(f"mrmd-python: {printable_lines(text)}", file=sys.stderr, flush=True)


def _open_standard_streams() -> None:
    """Open /dev/null where the caller has closed 0, 1 or 2, so that no other file gets these numbers."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        os.set_inheritable(descriptor, True)
        descriptor = os.dup(descriptor)
    os.close(descriptor)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - for the life of the process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115 - for the life of the process


def _handle_ctrl_c(handler: Any) -> None:
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # shells ignore it for background jobs
        signal.signal(signal.SIGINT, handler)
