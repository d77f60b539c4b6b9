"""The life of the process: a question on the socket, an answer back, until the server closes it."""

import os
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from mrmd_python.worker.channel import Channel

Question = dict[str, Any]
Answers = Mapping[str, Callable[[Question], dict[str, Any]]]


def main() -> None:
    """Answer questions of the kind that the command line names, one at a time."""
    channel = Channel(int(os.environ.pop("MRMD_WORKER_FDS").split()[0]))
    warnings.simplefilter("ignore")  # of a person's code, which is only read here
    answers = {"inference": _inference, "syntax": _syntax}[sys.argv[1]]()
    channel.send({"op": "ready"})
    while (question := channel.receive()) is not None:
        try:
            answer = answers[question["op"]](question)
        except Exception:  # of code that these libraries were not made for
            traceback.print_exc()  # into the runtime's log
            answer = None
        channel.send({"op": "answer", "answer": answer})


def _inference() -> Answers:
    from mrmd_python.analysis import static_completion

    def complete(question: Question) -> dict[str, Any]:
        os.chdir(question["cwd"])  # which paths in the code start from
        place = static_completion.Place(question["code"], question["cursor"], tuple(question["context"]))
        return static_completion.complete(place, question["executable"], question["cwd"])

    static_completion.warm_up()
    return {"complete": complete}


def _syntax() -> Answers:
    from IPython.core.inputtransformer2 import TransformerManager

    from mrmd_python.analysis.cell_format import format_cell

    def is_complete(question: Question) -> dict[str, Any]:
        status, indent = TransformerManager().check_complete(question["code"])
        return {"status": status, "indent": " " * (indent or 0)}

    return {"is_complete": is_complete, "format": lambda question: format_cell(question["code"], question["cwd"])}
