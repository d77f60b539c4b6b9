"""``PYTHON -E .../mrmd_python/analysis``: reads questions from stdin, writes answers to stdout, each a line of JSON."""

import json
import os
import queue
import signal
import sys
import threading
import traceback
import warnings
from pathlib import Path
from typing import Any

# The package's own directory came first, but its modules are not top-level ones. The directory above it goes last, for
# a source tree that is not installed.
sys.path[:1] = []
sys.path.append(str(Path(__file__).resolve().parents[2]))

Question = dict[str, Any]


def main() -> None:
    """Answer questions until the server closes stdin."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints is no answer
    warnings.simplefilter("ignore")  # of the user's code, which is only read here
    questions: queue.SimpleQueue[Question] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(questions,), daemon=True).start()
    while True:
        question = questions.get()
        if question["op"] == "warm_up":  # which has no answer
            if questions.empty():
                _warm_up()
            continue
        try:
            answer = _answer(question)
        except Exception:  # of code that these libraries were not made for
            traceback.print_exc()  # into the runtime's log
            answer = None
        answers.write(json.dumps(answer).encode() + b"\n")


def _read(questions: "queue.SimpleQueue[Question]") -> None:
    """Queue the questions. At the end of stdin kill this process, which may hang, and what jedi has started."""
    for line in sys.stdin.buffer:
        questions.put(json.loads(line))
    os.killpg(os.getpid(), signal.SIGKILL)


def _warm_up() -> None:
    from mrmd_python.analysis import static_completion

    static_completion.warm_up()


def _answer(question: Question) -> dict[str, Any]:
    match question["op"]:
        case "complete":
            from mrmd_python.analysis import static_completion

            os.chdir(question["cwd"])  # which paths in the code start from
            context = tuple(question["context"])
            position = static_completion.CursorPosition(question["code"], question["cursor"], context)
            return static_completion.complete(position, question["executable"], question["cwd"])
        case "format":
            from mrmd_python.analysis.cell_format import format_cell

            return format_cell(question["code"], question["cwd"])
        case "is_complete":
            from IPython.core.inputtransformer2 import TransformerManager

            status, indent = TransformerManager().check_complete(question["code"])
            return {"status": status, "indent": " " * (indent or 0)}
        case op:
            raise ValueError(f"unknown op {op!r}")


main()
