"""The reaper: parent of one worker, and the one that ends every process which that worker ever started.

    python -I -S reaper.py LEASH CONTROL REPLIES LOOKS STDOUT STDERR NOFILE CWD PROGRAM [ARG...]

The first six are inherited descriptors. It starts PROGRAM with CONTROL, REPLIES and LOOKS open, their numbers in
MRMD_WORKER_FDS, and NOFILE as its soft limit to descriptors, which the server has raised for itself alone.

On the leash, a socket to the server, it says ``spawned PID``, ``failed REASON`` and at last ``exited WAIT_STATUS
PEAK_KIB``, and is told ``interrupt``, which it answers by ``interrupted``, and ``end``, each a line. The end of file on
the leash means ``end``: the server is gone.

It imports little: a session waits for it, and each has one.

On Linux it is a child subreaper (prctl(2), PR_SET_CHILD_SUBREAPER): whatever the worker starts and abandons, a daemon
included, becomes its child. So nothing is left of the session once it has no child left.
"""

import ctypes
import errno
import os
import resource
import select
import signal
import sys
import time

_GRACE_SECONDS = 1.0
_NUDGE_SECONDS = 0.05
"""How long after an interrupt the worker gets a SIGURG, which means nothing to it. CPython notes a signal and heeds it
between two instructions: what it has noted just before a system call would wait for the end of that."""
_MOST_SCANS = 100
_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 1, 15, 36  # linux/prctl.h
_LINUX = sys.platform == "linux"


def main() -> None:
    """Start the worker, wait until it or the server ends, then end all that is left and report."""
    leash, *given = (int(argument) for argument in sys.argv[1:7])
    for descriptor in (leash, *given):
        os.set_inheritable(descriptor, False)  # the worker gets what _exec_worker gives it, and no leash above all
    wakeup = _watch_children()
    if _LINUX:
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        libc.prctl(_PR_SET_NAME, b"mrmd-reaper", 0, 0, 0)
    worker = _spawn(leash, given)
    for descriptor in given:
        os.close(descriptor)
    status = _watch(leash, wakeup, worker)
    ended = _end_everything(wakeup)
    status = ended.get(worker, status)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    _say(leash, f"exited {status} {peak}")


def _watch_children() -> int:
    """Return a descriptor that becomes readable when a child changes state; heed no signal that means others."""
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
            _say(leash, f"failed {what}: {error.strerror}")
        finally:
            os._exit(127)
    _say(leash, f"spawned {worker}")
    return worker


def _exec_worker(given: "list[int]", cwd: str, command: "list[str]") -> None:
    *sockets, out, err = given
    os.setsid()
    if _LINUX:
        # Should the reaper be killed, so is the worker; the server sees to what the worker started.
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
            ended: "dict[int, int]" = {}
            _reap(ended)
            if worker in ended:
                return ended[worker]
        if leash in readable:
            try:
                orders = os.read(leash, 4096)
            except OSError:
                orders = b""
            if not orders or b"end\n" in orders:
                return 0
            if b"interrupt\n" in orders:
                # Not reaped yet, so the pid is the worker's; its group holds what it runs in the foreground.
                _signal_group(worker, signal.SIGINT)
                _signal_group(worker, signal.SIGCONT)  # one that was stopped would not get it
                nudge = time.monotonic() + _NUDGE_SECONDS
                _say(leash, "interrupted\n" * (orders.count(b"interrupt\n") - 1) + "interrupted")


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass


def _end_everything(wakeup: int) -> "dict[int, int]":
    """SIGTERM all descendants, SIGKILL them after a grace period, until none is left; return their wait statuses."""
    ended: "dict[int, int]" = {}
    number = signal.SIGTERM
    deadline = time.monotonic() + _GRACE_SECONDS
    signalled: "set[tuple[int, int]]" = set()
    while _reap(ended):
        living = _descendants() if number == signal.SIGTERM else _frozen_descendants()
        foreign = {identity for identity in living - signalled if not _signal(identity, number)}
        if number == signal.SIGTERM:
            signalled |= living
        elif living and living == foreign:
            break  # they run as another user, by a set-user-id program, and cannot be ended
        # A grandchild's end makes no SIGCHLD here, and a fork may have escaped the scan: look again soon.
        select.select([wakeup], [], [], 0.01)
        _drain(wakeup)
        if time.monotonic() > deadline:
            number = signal.SIGKILL
            signalled.clear()
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


def _descendants() -> "set[tuple[int, int]]":
    """Return (pid, start time) of every live process below this one."""
    children: "dict[int, list[tuple[int, int]]]" = {}
    for pid, parent, started in _processes():
        children.setdefault(parent, []).append((pid, started))
    found: "set[tuple[int, int]]" = set()
    pending = [os.getpid()]
    while pending:
        for identity in children.get(pending.pop(), ()):
            found.add(identity)
            pending.append(identity[0])
    return found


def _frozen_descendants() -> "set[tuple[int, int]]":
    """SIGSTOP every descendant until there are no new ones, for they may fork faster than they are killed."""
    stopped: "set[tuple[int, int]]" = set()
    for _ in range(_MOST_SCANS):
        living = _descendants()
        if living <= stopped:
            break
        for identity in living - stopped:
            _signal(identity, signal.SIGSTOP)
        stopped |= living
    return living


def _processes() -> "list[tuple[int, int, int]]":
    """Return (pid, parent, start time) of every process; the start time is 0 where the system does not tell it."""
    if _LINUX:
        return [found for name in os.listdir("/proc") if name.isdigit() for found in _stat(int(name))]
    import subprocess

    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], stdout=subprocess.PIPE, check=True).stdout
    pairs = (line.split() for line in listing.splitlines())
    return [(int(pid), int(parent), 0) for pid, parent in pairs]


def _stat(pid: int) -> "list[tuple[int, int, int]]":
    """Return pid, parent and start time of one process, or nothing if it is gone (proc_pid_stat(5)).

    State Z is the end of its main thread only, as long as it has others (num_threads).
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return []
    ended = fields[0] in (b"Z", b"X") and int(fields[17]) <= 1
    return [] if ended else [(pid, int(fields[1]), int(fields[19]))]


def _signal(identity: "tuple[int, int]", number: int) -> bool:
    """Signal this very process: its pid may have been given out again since. Return False if it is another user's."""
    pid, started = identity
    pidfd = None
    try:
        if _LINUX:
            try:
                pidfd = os.pidfd_open(pid)
            except OSError as error:
                if error.errno != errno.ENOSYS:  # Linux before 5.3
                    raise
            if [found[2] for found in _stat(pid)] != [started]:
                return True
        if pidfd is None:
            os.kill(pid, number)
        else:
            signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        return False
    finally:
        if pidfd is not None:
            os.close(pidfd)
    return True


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 512):
            pass
    except BlockingIOError:
        pass


def _say(leash: int, line: str) -> None:
    said = line.encode(errors="replace") + b"\n"
    try:
        while said:
            said = said[os.write(leash, said) :]
    except OSError:
        pass  # the server is gone; what is to be done is done all the same


if __name__ == "__main__":
    main()
