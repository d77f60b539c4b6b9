"""The life of the process: a question on the socket, an answer back, until the server closes it."""

import os
import select
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from mrmd_python.worker.channel import Channel

Question = dict[str, Any]
Answers = Mapping[str, Callable[[Question], dict[str, Any]]]

_PAUSE_SECONDS = 0.05


def main() -> None:
    """Answer questions of the kind that the command line names, one at a time."""
    channel = Channel(int(os.environ.pop("MRMD_WORKER_FDS").split()[0]))
    warnings.simplefilter("ignore")  # of a person's code, which is only read here
    answers, prepare = {"inference": _inference, "syntax": _syntax}[sys.argv[1]]()
    channel.send({"op": "ready"})
    is_prepared = False
    while True:
        if not is_prepared and not select.select([channel.socket], [], [], _PAUSE_SECONDS)[0]:
            prepare()
            is_prepared = True
        question = channel.receive()
        if question is None:
            return
        channel.send({"op": "answer", "answer": _answer(answers, question)})


def _answer(answers: Answers, question: Question) -> dict[str, Any] | None:
    try:
        return answers[question["op"]](question)
    except Exception:  # of code that these libraries were not made for
        traceback.print_exc()  # into the runtime's log
        return None


def _inference() -> tuple[Answers, Callable[[], None]]:
    from mrmd_python.analysis import static_completion

    def complete(question: Question) -> dict[str, Any]:
        os.chdir(question["cwd"])  # which paths in the code start from
        place = static_completion.Place(question["code"], question["cursor"], tuple(question["context"]))
        return static_completion.complete(place, question["executable"], question["cwd"])

    return {"complete": complete}, static_completion.warm_up


def _syntax() -> tuple[Answers, Callable[[], None]]:
    from mrmd_python.analysis.cell_format import format_cell

    return {"format": lambda question: format_cell(question["code"], question["cwd"])}, lambda: None
