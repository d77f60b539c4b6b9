"""PID 1 of a container whose only program is a runtime: it starts the server, and does what an init does.

    python -I -S init.py NAME=VALUE PROGRAM [ARG...]

The program gets the variable NAME. The kernel makes PID 1 the parent of every orphan, also of those of `docker exec`,
which do not belong to the runtime. It must reap them, and it gets the signals for the server (pid_namespaces(7)).
"""

import os
import signal
import sys

_SI_KERNEL = 0x80  # asm-generic/siginfo.h


def main() -> None:
    """Start the program, pass signals on to it, reap everything, and exit as the program does."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    variable, *command = sys.argv[1:]
    name, _, value = variable.partition("=")
    child = os.posix_spawn(command[0], command, {**os.environ, name: value}, setsigmask=mask)
    while True:
        received = signal.sigwaitinfo(signal.valid_signals())
        if received.si_signo == signal.SIGCHLD:
            status = _reap(child)
            if status is not None:
                os._exit(status if status >= 0 else 128 - status)
        elif received.si_code != _SI_KERNEL:  # a terminal sends its signals to the server too
            os.kill(child, received.si_signo)


def _reap(child: int) -> "int | None":
    """Reap all children that have ended; return the exit status of `child`, negative for a signal, if it is one."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child:
            found = os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    main()
