"""The reaper: parent of one worker, and the one that ends every process which that worker ever started.

    python -I -S reaper.py LEASH CONTROL REPLIES QUERIES STDOUT STDERR NOFILE CWD PROGRAM [ARG...]

The first six are inherited descriptors. It starts PROGRAM with CONTROL, REPLIES and QUERIES open, their numbers in
MRMD_WORKER_FDS, and NOFILE as its soft limit to descriptors, which the server has raised for itself alone.

On the leash, a socket to the server, each message is a line of JSON. It sends ``spawned`` with the `pid`, or ``failed``
with the `reason`, and at last ``exited`` with the wait `status`. It gets ``interrupt``, which it answers with
``interrupted`` and the `count` of those that it has got, and ``end``. The end of file on the leash means ``end``: the
server is gone.

On Linux it is a child subreaper (prctl(2), PR_SET_CHILD_SUBREAPER): whatever the worker starts and abandons, a daemon
included, becomes its child. So nothing is left of the session once it has no child left.
"""

import ctypes
import os
import resource
import select
import signal
import sys
import time

_GRACE_SECONDS = 1.0
# How long after an interrupt the worker gets a SIGURG. CPython notes a signal and handles it between two instructions:
# one that it has noted just before a system call would wait for the end of that.
_NUDGE_SECONDS = 0.05
_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 1, 15, 36  # linux/prctl.h
_LINUX = sys.platform == "linux"


def main() -> None:
    """Start the worker, wait until it or the server ends, then end all that is left and report."""
    leash, *given = (int(argument) for argument in sys.argv[1:7])
    for descriptor in (leash, *given):
        os.set_inheritable(descriptor, False)  # the worker gets what _exec_worker gives it, and above all no leash
    wakeup = _watch_children()
    if _LINUX:
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        libc.prctl(_PR_SET_NAME, b"mrmd-reaper", 0, 0, 0)
    worker = _spawn(leash, given)
    for descriptor in given:
        os.close(descriptor)
    # The worker starts meanwhile. Not only when they are needed: an upgrade may have replaced the files by then.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    import mrmd_python.runtime.processes  # noqa: F401

    status = _watch(leash, wakeup, worker)
    ended = _end_everything(wakeup)
    _send(leash, op="exited", status=ended.get(worker, status))


def _watch_children() -> int:
    """Return a descriptor that becomes readable when a child changes state; ignore the signals that stop others."""
    reader, writer = os.pipe()
    for end in (reader, writer):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return reader


def _spawn(leash: int, given: "list[int]") -> int:
    """Fork and exec the worker in a session of its own; return its pid."""
    nofile, cwd, *command = sys.argv[7:]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(nofile), hard))
    worker = os.fork()
    if worker == 0:
        try:
            _exec_worker(given, cwd, command)
        except OSError as error:
            what = error.filename if isinstance(error.filename, str) else command[0]
            _send(leash, op="failed", reason=f"{what}: {error.strerror}")
        finally:
            os._exit(127)
    _send(leash, op="spawned", pid=worker)
    return worker


def _exec_worker(given: "list[int]", cwd: str, command: "list[str]") -> None:
    *sockets, out, err = given
    os.setsid()
    if _LINUX:
        # If the reaper is killed, so is the worker; the server ends what the worker started.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.chdir(cwd)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (out, 1), (err, 2)):
        os.dup2(source, target)
    for descriptor in sockets:
        os.set_inheritable(descriptor, True)
    os.execve(command[0], command, {**os.environ, "PWD": cwd, "MRMD_WORKER_FDS": " ".join(map(str, sockets))})


def _watch(leash: int, wakeup: int, worker: int) -> int:
    """Pass interrupts on until the worker ends, or the server says so or is gone; return the worker's wait status."""
    nudge: float | None = None
    while True:
        pause = None if nudge is None else max(0.0, nudge - time.monotonic())
        readable, _, _ = select.select([leash, wakeup], [], [], pause)
        if nudge is not None and time.monotonic() >= nudge:
            nudge = None
            os.kill(worker, signal.SIGURG)
        if wakeup in readable:
            _drain(wakeup)
            ended: dict[int, int] = {}
            _reap(ended)
            if worker in ended:
                return ended[worker]
        if leash in readable:
            orders = _receive(leash)
            if not orders or "end" in orders:
                return 0
            # Not reaped yet, so the pid is the worker's; its group holds what it runs in the foreground.
            _signal_group(worker, signal.SIGINT)
            _signal_group(worker, signal.SIGCONT)  # one that was stopped would not get it
            nudge = time.monotonic() + _NUDGE_SECONDS
            _send(leash, op="interrupted", count=len(orders))


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass


def _end_everything(wakeup: int) -> "dict[int, int]":
    """SIGTERM all descendants, SIGKILL them after a grace period, until none is left; return their wait statuses."""
    from mrmd_python.runtime import processes

    ended: dict[int, int] = {}
    deadline = time.monotonic() + _GRACE_SECONDS
    terminated: set[object] = set()
    while _reap(ended):
        if time.monotonic() < deadline:
            living = processes.below([os.getpid()])
            processes.signal_all(living - terminated, signal.SIGTERM)
            terminated |= living
        else:
            living, foreign = processes.kill(lambda: processes.below([os.getpid()]))
            if living and living == foreign:
                break  # they run as another user, by a set-user-id program, and cannot be ended
        # A grandchild's end makes no SIGCHLD here, and a fork may have escaped the scan: look again soon.
        select.select([wakeup], [], [], 0.01)
        _drain(wakeup)
    return ended


def _reap(ended: "dict[int, int]") -> bool:
    """Add the wait status of every child that has ended to `ended`; return whether there are others."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        ended[pid] = status


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 512):
            pass
    except BlockingIOError:
        pass


def _receive(leash: int) -> "list[str]":
    """Return which messages have come, none if the server is gone. They are short, and so come whole."""
    import json

    try:
        return [json.loads(line)["op"] for line in os.read(leash, 4096).splitlines()]
    except OSError:
        return []


def _send(leash: int, **message: object) -> None:
    import json

    data = json.dumps(message).encode() + b"\n"
    try:
        while data:
            data = data[os.write(leash, data) :]
    except OSError:
        pass  # the server is gone; what is to be done is done all the same


if __name__ == "__main__":
    main()
