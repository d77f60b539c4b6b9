"""``PYTHON -E .../mrmd_python/analysis``: reads queries from stdin, writes answers to stdout, each a line of JSON."""

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

# Python put this directory first, but its modules are not top-level ones. The directory above the package goes last,
# for a source tree that is not installed.
sys.path[:1] = []
sys.path.append(str(Path(__file__).resolve().parents[2]))

Query = dict[str, Any]


def main() -> None:
    """Answer queries until the server closes stdin."""
    os.umask(0o077)  # who can write to the cache of jedi, which has pickles, can run code here
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # so that what a library prints is not taken for an answer
    warnings.simplefilter("ignore")  # of the user's code, which is only parsed here
    queries: queue.SimpleQueue[Query] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(queries,), daemon=True).start()
    while True:
        query = queries.get()
        if query["op"] == "warm_up":  # has no answer
            if queries.empty():
                _warm_up()
            continue
        try:
            answer = _answer(query)
        except Exception:  # jedi and black fail at some code
            traceback.print_exc()  # goes to the runtime's log
            answer = None
        answers.write(json.dumps(answer).encode() + b"\n")


def _read(queries: "queue.SimpleQueue[Query]") -> None:
    """Queue the queries. At the end of stdin, kill this process, which may hang, and those that jedi has started."""
    for line in sys.stdin.buffer:
        queries.put(json.loads(line))
    os.killpg(os.getpid(), signal.SIGKILL)


def _warm_up() -> None:
    from mrmd_python.analysis import static_completion

    static_completion.warm_up()


def _answer(query: Query) -> dict[str, Any]:
    match query["op"]:
        case "complete":
            from mrmd_python.analysis import static_completion

            os.chdir(query["cwd"])  # relative paths in the code start here
            context = tuple(query["context"])
            position = static_completion.CursorPosition(query["code"], query["cursor"], context)
            return static_completion.complete(position, query["executable"], query["cwd"])
        case "format":
            from mrmd_python.analysis.cell_format import format_cell

            return format_cell(query["code"], query["cwd"])
        case "is_complete":
            from IPython.core.inputtransformer2 import TransformerManager

            status, indent = TransformerManager().check_complete(query["code"])
            return {"status": status, "indent": " " * (indent or 0)}
        case op:
            raise ValueError(f"unknown op {op!r}")


main()
