"""What a process does before it serves a runtime, and how it reports to the process that started it."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from mrmd_python.manager.manager import read_here, running, uninstall_others, write_environment
from mrmd_python.runtime import ServiceError, failures, registry, token
from mrmd_python.runtime import environment as environment_file
from mrmd_python.runtime.files import Home
from mrmd_python.runtime.locks import claim, locked, release
from mrmd_python.runtime.marker import VARIABLE as MARKER
from mrmd_python.runtime.marker import marker_of, new_marker
from mrmd_python.runtime.printable import printable_lines
from mrmd_python.runtime.registry import UnreadableRecordError
from mrmd_python.runtime.spec import RuntimeSpec, Service


def marker_for_server(home: Home, spec: RuntimeSpec) -> str:
    """Return the marker for a server that `start` has not prepared.

    All runs of a unit have the same marker, so that the next run sweeps the processes that a crash has left.
    """
    kept = None if spec.backend is None else marker_of(spec.id, environment_file.read(home.environment(spec.id)))
    return kept or new_marker(spec.id)


@contextmanager
def serving(home: Home, spec: RuntimeSpec, claim_fd: int | None) -> Iterator[None]:
    """Make this process the only server of an id while the block runs, and write the files that a server needs.

    Args:
        home: where the files are.
        spec: the runtime.
        claim_fd: the claim of the id, if this process has inherited one.

    Raises:
        ServiceError: the id is already running, or a required token is missing.
    """
    if spec.managed:
        if spec.token and token.from_environment(os.environ) is None:
            raise ServiceError(f"--managed needs a token in {token.VARIABLE}")
        yield
        return
    home.prepare()
    with ExitStack() as stack:
        if spec.backend is None:
            with locked(home.lock(spec.id)):
                home.check_spelling(spec.id)
                record = running(home, spec.id)
                if record is not None:
                    raise ServiceError(
                        f"{spec.id!r} is already running at {record.url}; to stop it: mrmd-python --kill {spec.id}"
                    )
                uninstall_others(spec.id, None)
                stack.callback(home.remove_start_files, spec.id)
                write_environment(home, spec.id, os.environ, os.environ[MARKER])
                if spec.token:
                    token.write(home.token(spec.id), os.environ)
                stack.enter_context(_claimed(home, spec.id, None))
        else:
            if claim_fd is None:  # else `start` or `restart` has done this, and the claim would be taken for another's
                _check_record(home, spec.id)
            stack.enter_context(_claimed(home, spec.id, claim_fd))
            _keep_environment(home, spec.id)
        yield


@contextmanager
def _claimed(home: Home, runtime_id: str, inherited: int | None) -> Iterator[None]:
    descriptor = claim(home.claim(runtime_id)) if inherited is None else inherited
    if descriptor is None:
        raise ServiceError(f"{runtime_id!r} is already running; see `mrmd-python --info {runtime_id}`")
    os.set_inheritable(descriptor, False)
    try:
        yield
    finally:
        release(home.claim(runtime_id), descriptor)


def _check_record(home: Home, runtime_id: str) -> None:
    """Raise ServiceError if the runtime lives elsewhere, or if its record cannot be read and it may be running."""
    try:
        read_here(home, runtime_id)
    except UnreadableRecordError as error:
        if error.may_be_running:
            raise


def _keep_environment(home: Home, runtime_id: str) -> None:
    """Write this process's environment as the runtime's, unless `start` has written one."""
    marker = os.environ[MARKER]
    if marker_of(runtime_id, environment_file.read(home.environment(runtime_id))) != marker:
        write_environment(home, runtime_id, os.environ, marker)


@contextmanager
def reporting_failure(home: Home, runtime_id: str, service: Service, ready_fd: int | None) -> Iterator[None]:
    """Report an error of the block: in the log, on the pipe, and by the exit status."""
    # A runtime that has crashed may be restarted. This is read first, since the block may remove the record.
    status = 1 if registry.crashed(home, runtime_id) is not None else service.failure_status
    if service.most_starts is not None:
        count = failures.begin(home, runtime_id)
        if count >= service.most_starts:
            status = service.failure_status
        if count > service.most_starts:  # the last one could not report why
            if failures.reason(home, runtime_id) is None:
                failures.explain(home, runtime_id, "it crashed as it started, several times in a row")
            sys.exit(status)
    try:
        yield
    except (ServiceError, OSError) as error:
        print(printable_lines(str(error)), file=sys.stderr, flush=True)
        if service.most_starts is not None:
            failures.explain(home, runtime_id, str(error))
        report(ready_fd, str(error))
        sys.exit(status)


def report(ready_fd: int | None, error: str | None, port: int | None = None) -> None:
    """Report the port or the error to the process that started this one, if it waits."""
    if ready_fd is not None:
        try:
            os.write(ready_fd, json.dumps({"error": error, "port": port}).encode())
        except BrokenPipeError:
            pass  # the starting process was interrupted
        os.close(ready_fd)
