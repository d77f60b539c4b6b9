"""An engine as vLLM's is built, without its GPU: spawned workers, each in a session of its own, that hold memory."""

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection

_MEGABYTE = 1024 * 1024


def _work(answers: Connection, megabytes: int) -> None:
    os.setsid()  # as engines do, so that a Ctrl-C is theirs to handle; no signal to a process group reaches it now
    weights = bytearray(os.urandom(_MEGABYTE) * megabytes)
    answers.send((os.getpid(), len(weights)))
    while True:
        signal.pause()  # it does not even notice that the engine is gone


class Engine:
    """Workers that hold `megabytes` each; `pids` are theirs."""

    def __init__(self, workers: int, megabytes: int) -> None:
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in range(workers)]
        for _, theirs in pipes:
            context.Process(target=_work, args=(theirs, megabytes)).start()
        self.pids = [ours.recv()[0] for ours, _ in pipes]
