"""What a server has to do with whoever started it: a word that it is ready, and signals that it is to stop."""

import json
import os
import signal

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def report(ready_fd: int | None, fault: str | None) -> None:
    """Tell whoever forked this daemon, if it listens, that it is ready or what its fault is."""
    if ready_fd is not None:
        try:
            os.write(ready_fd, json.dumps({"error": fault}).encode())
        except BrokenPipeError:
            pass  # it was interrupted while it waited
        os.close(ready_fd)
