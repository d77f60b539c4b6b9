"""A server's life until its event loop runs: claim the id, listen, spawn the default session's worker."""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from mrmd_python.manager import backends
from mrmd_python.runtime import ServiceError, registry, token
from mrmd_python.runtime.files import Home, claim
from mrmd_python.runtime.marker import VARIABLE as MARKER
from mrmd_python.runtime.marker import marker_of, new_marker, sweep
from mrmd_python.runtime.registry import Record
from mrmd_python.runtime.spec import RuntimeSpec, Service
from mrmd_python.server import descriptors, sockets
from mrmd_python.server.environment import SessionEnvironment
from mrmd_python.server.spawn import spawn
from mrmd_python.server.starter import STOP_SIGNALS, report
from mrmd_python.server.subreaper import become_subreaper


def main(arguments: Sequence[str]) -> NoReturn:
    """Run a server until it is told to stop; exit 0 then, and 78 if it cannot serve as asked, but 0 under launchd."""
    for number in STOP_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup sets SIGHUP
            signal.signal(number, _stop_before_serving)
    spec, inherited = RuntimeSpec.from_arguments(arguments)
    home = Home.of(os.environ)
    service = backends.load(spec.backend).service(home, spec.id)
    given_token = os.environ.pop(token.VARIABLE, None)
    os.environ[MARKER] = marker_of(spec.id, os.environ) or new_marker(spec.id)
    crashed = None
    try:
        with _claimed_id(home, spec, inherited.claim):
            signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the starter may have blocked them until now
            crashed = _record_of_a_crash(home, spec)
            if crashed is not None:
                sweep(os.environ[MARKER])  # what has left the cgroup or lost its reaper
            wanted = _token(home, spec, given_token)
            descriptors.raise_limit()
            listeners = sockets.listen(spec.host, spec.port, None if spec.managed else home.last_port(spec.id))
            become_subreaper()
            # The worker loads while this process imports what follows.
            spawned = spawn(SessionEnvironment(spec.python, spec.venv, spec.cwd))
            from mrmd_python.server.lifetime import Prepared, run

            run(Prepared(home, spec, service, listeners, wanted, spawned, crashed is not None, inherited.ready))
    except (ServiceError, sockets.PortError, OSError) as error:
        # The terminal says who speaks; the log has its own prefix.
        print(f"mrmd-python: {error}" if spec.backend == "foreground" else error, file=sys.stderr, flush=True)
        report(inherited.ready, str(error))
        sys.exit(_failure_status(service, crashed))
    sys.stderr.flush()
    os._exit(0)  # all has ended; to take the interpreter apart as well would take longer than the rest of the end did


def _failure_status(service: Service, crashed: Record | None) -> int:
    """Return the exit status that has a keeper try again or not."""
    if crashed is not None:
        return 1  # what has run once may run again
    return service.failure_status


def _stop_before_serving(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


@contextmanager
def _claimed_id(home: Home, spec: RuntimeSpec, held: int | None) -> Iterator[None]:
    """Be the one server of this id, by the claim that is `held` or a new one; an editor's own process needs none."""
    if spec.managed:
        yield
        return
    home.prepare()
    descriptor = held if held is not None else claim(home.claim(spec.id))
    if descriptor is None:
        raise ServiceError(f"{spec.id!r} runs already; see `mrmd-python --info {spec.id}`")
    os.set_inheritable(descriptor, False)
    try:
        yield
    finally:
        if spec.backend == "foreground":  # there is no keeper who may start it again
            home.remove_start_files(spec.id)
        home.claim(spec.id).unlink(missing_ok=True)
        os.close(descriptor)


def _record_of_a_crash(home: Home, spec: RuntimeSpec) -> Record | None:
    """Return what this id's last server left in the registry, if it did not end in order."""
    if spec.managed:
        return None
    try:
        return registry.read(home, spec.id)
    except registry.UnreadableRecordError:
        return None


def _token(home: Home, spec: RuntimeSpec, given: str | None) -> str | None:
    """Return the token that clients must show, None if they need none.

    Raises:
        ServiceError: they must show one, and there is none.
    """
    if not spec.token:
        return None
    if not spec.managed:
        return token.read(home.token(spec.id))
    if given is None:
        raise ServiceError(f"there is no token in {token.VARIABLE}")
    return given
