"""Runtimes as Slurm jobs."""

import math
import os
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from mrmd_python.manager.backends import batch_script
from mrmd_python.manager.backends.base import Backend, StartFailedError, State, log_size, open_log, stop_limit, tail
from mrmd_python.manager.backends.batch_script import job_name
from mrmd_python.manager.backends.slurm_jobs import Job, all_jobs, cancel, check_controller, query_pauses, submit
from mrmd_python.runtime import ServiceError, registry
from mrmd_python.runtime import environment as environment_file
from mrmd_python.runtime.files import Home, make_directory, write_atomically
from mrmd_python.runtime.locks import is_claimed
from mrmd_python.runtime.registry import Record, UnreadableRecordError
from mrmd_python.runtime.scope import has_locks_of_all_hosts
from mrmd_python.runtime.spec import RuntimeSpec, Service
from mrmd_python.runtime.validate import is_id

_BACKSTOP_SECONDS = 30.0  # longer than the server's own limit for its start
_KILL_WAIT_SECONDS = 60.0  # how long Slurm may take to end a job, besides its server; KillWait is 30 by default
_LOOK_SECONDS = 0.1
_LOG_BYTES = 64 * 1024  # of the end of a log that are searched for Slurm's own message
_SILENT_SECONDS = 60.0  # for how long a start waits for a controller that does not answer
_CAUSES = {
    "TIMEOUT": "time limit",
    "NODE_FAIL": "node failure",
    "OUT_OF_MEMORY": "out of memory",
    "BOOT_FAIL": "boot failure",
}
_JOB_LINE = r"(?m)^# Submitted as job (\d+)\.\n\Z"  # the last line of a script that has been submitted


class SlurmBackend(Backend):
    """Runtimes as jobs named ``mrmd-python@<id>``."""

    name = "slurm"
    noun = "a Slurm job"
    automatic = False
    remote = True
    limits = batch_script.LIMITS

    def detect(self) -> None:
        """Check that Slurm is installed and that its controller answers, which takes milliseconds."""
        check_controller()

    def prepare(self, spec: RuntimeSpec) -> RuntimeSpec:
        """Check the limits, and require a token: other users of the cluster can reach the port."""
        batch_script.options(spec)
        return replace(super().prepare(spec), token=True)

    def check_variables(self, variables: Mapping[str, str]) -> None:
        """Refuse to name GPUs: Slurm chooses them."""
        named = next((variables[name] for name in batch_script.GPU_VARIABLES if variables.get(name)), None)
        if named is not None:
            count = len(named.split(","))
            raise ServiceError(f"GPUs {named}: Slurm chooses the devices of a job; use --property gres=gpu:{count}")

    def render(self, home: Home, spec: RuntimeSpec, environment: Mapping[str, str]) -> bytes:
        """Return the batch script."""
        return os.fsencode(batch_script.render(home, spec))

    def start(self, home: Home, spec: RuntimeSpec, environment: Mapping[str, str], *, wait: bool) -> None:
        """Submit the job; wait while it is pending, for as long as that takes, and until its server answers."""
        before = log_size(home.log(spec.id))
        job_id = _submit(spec.id, batch_script.render(home, spec), environment)
        if wait:
            self._wait_until_it_answers(home, spec.id, job_id, before, spec.timeout + _BACKSTOP_SECONDS)

    def restart(self, home: Home, runtime_id: str, record: Record | None) -> None:
        """End the job and submit its script again."""
        check_controller()
        script, environment = _script_text(runtime_id), environment_file.read(home.environment(runtime_id))
        _cancel(runtime_id, record)
        registry.delete(home, runtime_id)
        before = log_size(home.log(runtime_id))
        job_id = _submit(runtime_id, script, environment)
        timeout = RuntimeSpec.timeout if record is None else record.runtime_spec().timeout
        self._wait_until_it_answers(home, runtime_id, job_id, before, timeout + _BACKSTOP_SECONDS)

    def stop(self, runtime_id: str, record: Record | None) -> list[Path]:
        """Cancel the job; return once every process of it has ended."""
        _cancel(runtime_id, record)
        return [_script(runtime_id)] if self.is_installed(runtime_id) else []

    def is_alive(self, record: Record) -> bool:
        """Return whether the job of a record is running.

        Raises:
            ServiceError: Slurm does not answer.
        """
        job = _job(record.id, record.unit)
        return job is not None and job.is_running

    def uptime(self, record: Record) -> float:
        """Return for how many seconds the server has been running."""
        return (datetime.now(timezone.utc) - datetime.fromisoformat(record.created)).total_seconds()

    def processes(self, record: Record | None, marker: str | None) -> set[int]:
        """Return no pids: the processes are on the node."""
        return set()

    def is_active(self, runtime_id: str) -> bool:
        """Return whether the server answers, after waiting while its job is pending, starts or ends."""
        home, job_id = Home.of(os.environ), _job_id(runtime_id, None)
        if job_id is None:
            return False
        pauses = query_pauses()
        while (job := _job(runtime_id, job_id)) is not None and job.is_live:
            if _has_answered(home, runtime_id, job_id):
                return job.is_running
            time.sleep(next(pauses))
        return False

    def is_starting(self, runtime_id: str) -> bool:
        """Return whether there is a job that is pending or runs."""
        job_id = _job_id(runtime_id, None)
        job = _job(runtime_id, job_id) if job_id is not None else None
        return job is not None and job.is_live

    def is_installed(self, runtime_id: str) -> bool:
        """Return whether there is a script for this id, which stays when its job has ended."""
        return _script(runtime_id).exists()

    def states(self) -> dict[str, State]:
        """Return the runtimes with a script, with what Slurm says of their jobs."""
        ids = [path.stem for path in _directory().glob("*.sh") if is_id(path.stem)]
        if not ids:
            return {}
        try:
            jobs = all_jobs()
        except ServiceError as error:
            return dict.fromkeys(ids, State("unknown", None, None, str(error)))
        return {runtime_id: _state(runtime_id, jobs) for runtime_id in ids}

    def note(self, runtime_id: str, environ: Mapping[str, str]) -> str | None:
        """Name the job."""
        return f"{runtime_id!r} is Slurm job {_job_id(runtime_id, None)}"

    def service(self, home: Home, runtime_id: str) -> Service:
        """Return a service that logs to the output of the job, and listens on an address of the node."""
        job_id, node = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURMD_NODENAME")
        if job_id is None or node is None:
            raise ServiceError("--backend slurm --foreground works only in a Slurm job; leave out --foreground")
        return Service(
            backend=self.name,
            unit=job_id,
            log=str(home.log(runtime_id)),
            restartable=True,
            host=node,
            address=_address(node),
            warning=f"Slurm ends job {job_id}, and this runtime with it, in about a minute: at its time limit",
        )

    def _wait_until_it_answers(self, home: Home, runtime_id: str, job_id: str, before: int, seconds: float) -> None:
        """Return once the server of a job has announced itself; from when the job runs, it has `seconds`."""
        deadline, heard = math.inf, time.monotonic()
        next_query, pauses = 0.0, query_pauses()
        while not _has_answered(home, runtime_id, job_id):
            now = time.monotonic()
            if now > deadline:
                raise StartFailedError(
                    f"Slurm job {job_id} has not ended, but its server does not answer; see {home.log(runtime_id)}"
                )
            if now >= next_query:
                try:
                    job = _job(runtime_id, job_id)
                except ServiceError as error:
                    if now - heard > _SILENT_SECONDS:
                        raise
                    self.on_progress(str(error))
                else:
                    heard = now
                    if job is None or not job.is_live:  # while it is ending, its state is not final
                        if _has_answered(home, runtime_id, job_id):
                            return
                        raise StartFailedError(_failure(home, runtime_id, job_id, job, before))
                    self.on_progress(_progress(job))
                    if not job.is_pending:
                        deadline = min(deadline, now + seconds)
                next_query = time.monotonic() + next(pauses)
            time.sleep(_LOOK_SECONDS)


def _directory() -> Path:
    return Home.of(os.environ).root / "jobs"


def _script(runtime_id: str) -> Path:
    return _directory() / f"{runtime_id}.sh"


def _read_script(runtime_id: str) -> str:
    return os.fsdecode(_script(runtime_id).read_bytes())


def _script_text(runtime_id: str) -> str:
    """Return the script of a runtime as it was rendered."""
    try:
        text = _read_script(runtime_id)
    except OSError as error:
        raise ServiceError(f"cannot read {_script(runtime_id)}: {error.strerror}") from None
    return re.sub(_JOB_LINE, "", text)


def _job_id(runtime_id: str, record: Record | None) -> str | None:
    """Return the last job of a runtime, if any."""
    try:
        found = re.search(_JOB_LINE, _read_script(runtime_id))
    except OSError:
        found = None
    if found is not None:
        return found[1]
    return record.unit if record is not None else None


def _submit(runtime_id: str, script: str, environment: Mapping[str, str]) -> str:
    """Submit a script as a job with this environment and return its id, which is noted in the script too.

    Raises:
        ServiceError: Slurm refuses it; the message has Slurm's reason.
    """
    path = _script(runtime_id)
    try:
        make_directory(path.parent)
        write_atomically(path, os.fsencode(script))
    except OSError as error:
        raise ServiceError(f"cannot write the batch script {path}: {error.strerror}") from None
    open_log(Home.of(os.environ).log(runtime_id)).close()  # with mode 0600
    given = batch_script.environment_on_node(environment)
    try:
        job_id = submit(path, given, batch_script.overriding_variables(script))
    except ServiceError:
        path.unlink()
        raise
    write_atomically(path, os.fsencode(f"{script}# Submitted as job {job_id}.\n"))
    return job_id


def _cancel(runtime_id: str, record: Record | None) -> None:
    """Cancel the job of a runtime, if it has not ended, and return once it has.

    Slurm reports the end of a job a second after its processes have ended, so the server's own report counts too: it
    withdraws its record, and gives up its claim when every process of the runtime has ended.

    Raises:
        ServiceError: Slurm does not answer, or does not end it.
    """
    job_id = _job_id(runtime_id, record) or _unrecorded_job(runtime_id)
    if job_id is None:
        return
    home, seconds = Home.of(os.environ), stop_limit(record) + _KILL_WAIT_SECONDS
    try:
        job = _job(runtime_id, job_id)
        if job is None or not job.is_live:
            return
        cancel(job)
    except ServiceError as error:
        raise ServiceError(f"cannot cancel job {job_id} of {runtime_id!r}: {error}") from None
    # The claim is of use only if this host sees the locks of the node.
    was_announced = record is not None and has_locks_of_all_hosts(home.root)
    deadline = time.monotonic() + seconds
    next_query, pauses = 0.0, query_pauses()
    while True:
        if was_announced and not home.record(runtime_id).exists() and not is_claimed(home.claim(runtime_id)):
            return
        if time.monotonic() >= next_query:
            job = _job(runtime_id, job_id)
            if job is None or not job.is_live:
                return
            next_query = time.monotonic() + next(pauses)
        if time.monotonic() > deadline:
            raise ServiceError(
                f"Slurm has not ended job {job_id} within {seconds:.0f} s; see `scontrol show job {job_id}`"
            )
        time.sleep(_LOOK_SECONDS)


def _unrecorded_job(runtime_id: str) -> str | None:
    """Return the job of a script that does not name it: the command that submitted it was interrupted."""
    if not _script(runtime_id).exists():
        return None
    name, directory = job_name(runtime_id), str(Home.of(os.environ).root)
    found = (job.id for job in all_jobs().values() if (job.name, job.directory) == (name, directory) and job.is_live)
    return next(found, None)


def _has_answered(home: Home, runtime_id: str, job_id: str) -> bool:
    """Return whether the server of a job has announced itself."""
    try:
        record = registry.read(home, runtime_id)
    except UnreadableRecordError:
        return False
    return record is not None and record.unit == job_id


def _job(runtime_id: str, job_id: str | None) -> Job | None:
    """Return a job of a runtime, if Slurm knows it."""
    return _of_runtime(runtime_id, all_jobs().get(job_id or ""))


def _of_runtime(runtime_id: str, job: Job | None) -> Job | None:
    """Return a job unless it is another's: an administrator may have let Slurm count from 1 again."""
    return job if job is not None and job.name == job_name(runtime_id) else None


def _state(runtime_id: str, jobs: Mapping[str, Job]) -> State:
    job_id = _job_id(runtime_id, None)
    if job_id is None:
        return State("stopped", None, None, "never submitted")
    job = _of_runtime(runtime_id, jobs.get(job_id))
    if job is None:
        cause = _cause_in_log(runtime_id, job_id)
        return State("failed" if cause else "stopped", None, None, cause or f"Slurm no longer knows job {job_id}")
    given = {"job": job.id, "node": job.node, "left": job.time_left if job.is_running else "", "gpus": job.gpus}
    status, detail = _status(runtime_id, job)
    return State(status, None, None, detail, {name: value for name, value in given.items() if value})


def _status(runtime_id: str, job: Job) -> tuple[str, str | None]:
    """Return the state to show for a job, and what else there is to say about it."""
    if job.is_pending:
        return "pending", job.reason or None
    if job.is_running:
        answers = _has_answered(Home.of(os.environ), runtime_id, job.id)
        return "running" if answers else "starting", None if job.state == "RUNNING" else job.state.lower()
    if job.is_ending:
        return "stopping", None
    return "stopped" if job.has_ended_well else "failed", _CAUSES.get(job.state, job.state).lower()


def _cause_in_log(runtime_id: str, job_id: str) -> str | None:
    """Return why Slurm ended a job that it no longer knows, from what it wrote into the log."""
    try:
        with Home.of(os.environ).log(runtime_id).open("rb") as file:
            file.seek(-min(file.seek(0, os.SEEK_END), _LOG_BYTES), os.SEEK_END)
            end = file.read().decode(errors="replace")
    except OSError:
        return None
    found = re.findall(rf"\*\*\* JOB {job_id} ON \S+ CANCELLED AT \S+ DUE TO ([A-Z ]+) \*\*\*", end)
    return found[-1].lower() if found else None


def _progress(job: Job) -> str:
    if job.is_pending:
        return f"job {job.id} is pending" + (f": {job.reason}" if job.reason else "")
    return f"job {job.id} on {job.node}"


def _failure(home: Home, runtime_id: str, job_id: str, job: Job | None, before: int) -> str:
    """Return why a job ended before its server answered: Slurm's words, and the last lines of the log."""
    log = home.log(runtime_id)
    lines = tail(log, before)
    ended = "it was cancelled" if job is None else job.state + (f" ({job.reason})" if job.reason else "")
    node = f" on {job.node}" if job is not None and job.node else ""
    return f"Slurm job {job_id} ended{node} before its server answered: {ended}\n" + (
        lines or f"It wrote nothing to {log}: does the node have that directory?"
    )


def _address(node: str) -> str:
    """Return the address to listen on: the node's name, unless the node resolves it to loopback."""
    import socket
    from ipaddress import ip_address

    try:
        found = {ip_address(str(each[4][0]).partition("%")[0]) for each in socket.getaddrinfo(node, None)}
    except OSError:
        found = set()
    return node if any(not address.is_loopback for address in found) else "0.0.0.0"


BACKEND = SlurmBackend
