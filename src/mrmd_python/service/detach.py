"""The process between a caller and a daemon: it starts the daemon and exits (daemon(7), "SysV Daemons").

    python -I -S detach.py READY LOG COMMAND...

It leads a new session. The daemon, a second child, does not, so that no terminal it opens becomes its controlling one;
and once this process is gone, nobody is its parent. A program of its own rather than a fork of the caller, which may
have threads: a fork of those may only exec.
"""

import json
import os
import signal
import subprocess
import sys


def main() -> None:
    """Start the daemon; if that cannot be, say why on the pipe READY."""
    ready, log, *command = sys.argv[1:]
    try:
        subprocess.Popen(
            command,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            stderr=subprocess.STDOUT,
            pass_fds=[int(ready)],
            preexec_fn=_default_signals,
        )
    except OSError as error:
        os.write(int(ready), json.dumps({"error": f"cannot start {command[0]}: {error}"}).encode())
    os._exit(0)


def _default_signals() -> None:
    """Undo what a caller may have blocked or ignored, nohup's SIGHUP excepted (daemon(7))."""
    for number in signal.valid_signals() - {signal.SIGHUP, signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


if __name__ == "__main__":
    main()
