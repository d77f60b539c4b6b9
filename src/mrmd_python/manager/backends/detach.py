"""The process between a caller and a daemon: it starts the daemon and exits (daemon(7), "SysV Daemons").

    python -I -S detach.py READY,DESCRIPTOR... COMMAND...

The daemon's standard streams are those of this process. This process leads a new session; the daemon, its child, does
not, so a terminal that the daemon opens never becomes its controlling terminal. This is a separate program rather than
a fork of the caller, because a fork of a process with threads may only exec. It imports almost nothing, to be fast.
"""

import os
import sys

_STANDARD = range(1, 32)  # signal(7), "Signal numbering for standard signals"
_SIGHUP, _SIGKILL, _SIGSTOP = 1, 9, 19 if sys.platform == "linux" else 17


def main() -> None:
    """Start the daemon with these descriptors open; if that fails, write the reason to the pipe READY."""
    descriptors, *command = sys.argv[1:]
    ready, *others = map(int, descriptors.split(","))
    for descriptor in (ready, *others):
        os.set_inheritable(descriptor, True)
    os.chdir("/")
    try:
        os.posix_spawnp(
            command[0],
            command,
            os.environ,
            # Undo signals that the caller blocks or ignores, except nohup's SIGHUP (daemon(7)).
            setsigmask=(),
            setsigdef=set(_STANDARD) - {_SIGHUP, _SIGKILL, _SIGSTOP},
        )
    except OSError as error:
        import json

        os.write(ready, json.dumps({"error": f"cannot start {command[0]}: {error}"}).encode())
    os._exit(0)


if __name__ == "__main__":
    main()
