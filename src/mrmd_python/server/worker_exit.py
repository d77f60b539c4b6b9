"""How a worker ended."""

import os
import signal
from dataclasses import dataclass


@dataclass(frozen=True)
class WorkerExit:
    """How a worker ended: its wait status, or None if its reaper was killed; or why it never started."""

    status: int | None
    failure: str | None = None
    out_of_memory: bool = False
    """Whether the kernel has ended processes for lack of memory since the worker was last told to do something."""

    def cause(self) -> str:
        """Return it as the predicate of a sentence about the session's process."""
        if self.failure is not None:
            return f"could not be started: {self.failure}"
        if self.status is None:
            return "was killed together with the process that watches it"
        if os.WIFSIGNALED(self.status):
            number = os.WTERMSIG(self.status)
            if number == signal.SIGKILL and self.out_of_memory:
                return "was killed by SIGKILL from the kernel: out of memory"
            try:
                return f"was killed by {signal.Signals(number).name}"
            except ValueError:
                return f"was killed by signal {number}"
        return f"exited with status {os.WEXITSTATUS(self.status)}"
