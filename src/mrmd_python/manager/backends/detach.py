"""The process between a caller and a daemon: it starts the daemon and exits (daemon(7), "SysV Daemons").

    python -I -S detach.py READY LOG COMMAND...

It leads a new session. The daemon, a second child, does not, so that no terminal it opens becomes its controlling one;
and once this process is gone, nobody is its parent. A program of its own rather than a fork of the caller, which may
have threads: a fork of those may only exec. It imports next to nothing: whoever starts a runtime waits for it.
"""

import os
import sys

_STANDARD = range(1, 32)  # signal(7), "Signal numbering for standard signals"
_SIGHUP, _SIGKILL, _SIGSTOP = 1, 9, 19 if sys.platform == "linux" else 17


def main() -> None:
    """Start the daemon; if that cannot be, say why on the pipe READY."""
    ready, log, *command = sys.argv[1:]
    os.set_inheritable(int(ready), True)
    os.chdir("/")
    try:
        os.posix_spawnp(
            command[0],
            command,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            # What a caller may have blocked or ignored, nohup's SIGHUP excepted (daemon(7)).
            setsigmask=(),
            setsigdef=set(_STANDARD) - {_SIGHUP, _SIGKILL, _SIGSTOP},
        )
    except OSError as error:
        import json

        os.write(int(ready), json.dumps({"error": f"cannot start {command[0]}: {error}"}).encode())
    os._exit(0)


if __name__ == "__main__":
    main()
