"""A stand-in for vLLM's engine, without a GPU: spawned workers in their own process sessions that hold memory."""

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection

_MEGABYTE = 1024 * 1024


def _work(answers: Connection, megabytes: int) -> None:
    os.setsid()  # as engines do, to handle Ctrl-C themselves; signals to the process group no longer reach it
    weights = bytearray(os.urandom(_MEGABYTE) * megabytes)
    answers.send((os.getpid(), len(weights)))
    while True:
        signal.pause()  # it does not notice when the engine exits


class Engine:
    """Workers that hold `megabytes` each, and their `pids`."""

    def __init__(self, workers: int, megabytes: int) -> None:
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in range(workers)]
        for _, theirs in pipes:
            context.Process(target=_work, args=(theirs, megabytes)).start()
        self.pids = [ours.recv()[0] for ours, _ in pipes]
