"""The reaper: the parent of one worker. It ends every process that the worker started.

    python -I -S reaper.py SERVER CONTROL REPLIES QUERIES STDOUT STDERR NOFILE SECONDS SOFT HARD CWD PROGRAM [ARG...]

The first six arguments are inherited descriptors. PROGRAM is started with CONTROL, REPLIES and QUERIES open, and their
numbers in MRMD_WORKER_FDS. NOFILE is its soft limit of descriptors: the server has raised its own. SECONDS is how long
its processes may take to end after SIGTERM. SOFT and HARD are their limit of file locks, a mark (runtime/marker.py).

SERVER is a socket to the server, on which each message is a line of JSON. The reaper sends ``spawned`` with the `pid`,
or ``failed`` with the `reason`, and at last ``exited`` with the wait `status`. It receives ``end``, and ``interrupt``,
to which it answers ``interrupted`` with the `count` of interrupts received. The end of file means ``end``: the server
has died.

On Linux it is a child subreaper (prctl(2), PR_SET_CHILD_SUBREAPER): every orphan below it becomes its child, daemons
too. So once it has no children, the session has no processes. On macOS it finds orphans by what they cannot shed
(`processes.Family`), and by their marker.
"""

import ctypes
import os
import resource
import select
import signal
import sys
import time

TYPE_CHECKING = False  # the import of typing would delay the worker
if TYPE_CHECKING:
    from mrmd_python.runtime.processes import Family, Process

# The pause between two searches for new processes to end.
_PAUSE_SECONDS = 0.05
# How long after an interrupt the worker gets a SIGURG. CPython handles a signal between two instructions. A signal that
# arrives just before a system call would be handled only after it; SIGURG interrupts the call.
_SIGURG_SECONDS = 0.05
_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 1, 15, 36  # linux/prctl.h
_RLIMIT_LOCKS = 10  # asm-generic/resource.h
_LINUX = sys.platform == "linux"


def main() -> None:
    """Start the worker, wait until it or the server ends, then end all other processes and report."""
    server, *given = (int(argument) for argument in sys.argv[1:7])
    for descriptor in (server, *given):
        os.set_inheritable(descriptor, False)  # _exec_worker() makes those of the worker inheritable again
    wakeup = _watch_children()
    if _LINUX:
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        libc.prctl(_PR_SET_NAME, b"mrmd-reaper", 0, 0, 0)
    worker = _spawn(server, given)
    for descriptor in given:
        os.close(descriptor)
    # Imported while the worker starts, and not later: an upgrade may replace the files.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    import mrmd_python.runtime.marker  # noqa: F401
    from mrmd_python.runtime.processes import Family, Process

    family = Family([os.getpid()])
    family.add(filter(None, [Process.of(worker)]))  # it may end before the first search
    status = _watch(server, wakeup, worker)
    ended = _end_everything(family, wakeup, float(sys.argv[8]))
    _send(server, op="exited", status=ended.get(worker, status))


def _watch_children() -> int:
    """Return a descriptor that becomes readable when a child changes state; ignore the signals that end programs."""
    reader, writer = os.pipe()
    for end in (reader, writer):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return reader


def _spawn(server: int, given: "list[int]") -> int:
    """Fork and exec the worker in a new POSIX session; return its pid."""
    nofile, _, soft, hard, cwd, *command = sys.argv[7:]
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(nofile), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    if _LINUX:
        try:
            resource.setrlimit(_RLIMIT_LOCKS, (int(soft), int(hard)))
        except ValueError:  # in a session of another runtime, whose lower limit this user may not raise
            pass
    worker = os.fork()
    if worker == 0:
        try:
            _exec_worker(given, cwd, command)
        except OSError as error:
            what = error.filename if isinstance(error.filename, str) else command[0]
            _send(server, op="failed", reason=f"{what}: {error.strerror}")
        finally:
            os._exit(127)
    _send(server, op="spawned", pid=worker)
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


def _watch(server: int, wakeup: int, worker: int) -> int:
    """Pass on interrupts until the worker ends, or the server sends ``end`` or dies; return the wait status."""
    sigurg_at: float | None = None
    while True:
        pause = None if sigurg_at is None else max(0.0, sigurg_at - time.monotonic())
        readable, _, _ = select.select([server, wakeup], [], [], pause)
        if sigurg_at is not None and time.monotonic() >= sigurg_at:
            sigurg_at = None
            os.kill(worker, signal.SIGURG)
        if wakeup in readable:
            _drain(wakeup)
            ended: dict[int, int] = {}
            _reap(ended)
            if worker in ended:
                return ended[worker]
        if server in readable:
            messages = _receive(server)
            if not messages or "end" in messages:
                return 0
            # The worker is not reaped yet, so its pid is not reused. Its group has the commands that it runs.
            _signal_group(worker, signal.SIGINT)
            _signal_group(worker, signal.SIGCONT)  # a stopped process handles SIGINT only after SIGCONT
            sigurg_at = time.monotonic() + _SIGURG_SECONDS
            _send(server, op="interrupted", count=len(messages))


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass


def _end_everything(family: "Family", wakeup: int, seconds: float) -> "dict[int, int]":
    """SIGTERM all descendants and, after `seconds`, SIGKILL them, until none is left; return their wait statuses."""
    from mrmd_python.runtime import processes

    ended: dict[int, int] = {}
    passes = processes.end(lambda: _members(family), seconds)
    while (has_children := _reap(ended)) or not _LINUX:
        alive, foreign = next(passes)
        if alive == foreign and (alive or not has_children):
            break  # those left run as another user (a set-user-id program) and cannot be ended
        # Search again soon: a process may have been started during the last search.
        select.select([wakeup], [], [], _PAUSE_SECONDS)
        _drain(wakeup)
    passes.close()
    return ended


def _members(family: "Family") -> "set[Process]":
    from mrmd_python.runtime import marker

    if not _LINUX:
        family.add(marker.marked(os.environ[marker.VARIABLE]))
    return family.find()


def _reap(ended: "dict[int, int]") -> bool:
    """Add the wait status of every ended child to `ended`; return whether there are other children."""
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


def _receive(server: int) -> "list[str]":
    """Return the messages that have arrived, none if the server has died. They are short, so they arrive whole."""
    import json

    try:
        return [json.loads(line)["op"] for line in os.read(server, 4096).splitlines()]
    except OSError:
        return []


def _send(server: int, **message: object) -> None:
    import json

    data = json.dumps(message).encode() + b"\n"
    try:
        while data:
            data = data[os.write(server, data) :]
    except OSError:
        pass  # the server has died; the reaper still ends the session


if __name__ == "__main__":
    main()
