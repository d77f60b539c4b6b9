"""Runtimes as Slurm jobs: sbatch(1), squeue(1), scancel(1)."""

import math
import os
import pwd
import re
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from mrmd_python.manager.backends.base import (
    Backend,
    NotInstalledError,
    StartFailedError,
    State,
    log_size,
    open_log,
    run,
    stop_limit,
    tail,
    template,
)
from mrmd_python.runtime import ServiceError, registry
from mrmd_python.runtime import environment as environment_file
from mrmd_python.runtime.files import Home, make_directory, write_atomically
from mrmd_python.runtime.locks import is_claimed
from mrmd_python.runtime.registry import Record, UnreadableRecordError
from mrmd_python.runtime.scope import has_locks_of_all_hosts
from mrmd_python.runtime.spec import RuntimeSpec, Service
from mrmd_python.runtime.validate import is_id

_TEMPLATE = "mrmd-python.sh"
_JOB_PREFIX = "mrmd-python@"
_ANSWER_SECONDS = 20.0  # the Slurm commands themselves give up after about ten
_BACKSTOP_SECONDS = 30.0  # longer than the server's own limit for its start
_KILL_WAIT_SECONDS = 60.0  # how long Slurm may take to end a job, besides its server; KillWait is 30 by default
_LOOK_SECONDS = 0.1
_QUERY_SECONDS = (0.3, 3.0)  # between two queries of the controller, which all users share: at first, and later
_LOG_BYTES = 64 * 1024  # of the end of a log that are searched for Slurm's own message
_SILENT_SECONDS = 60.0  # for how long a start waits for a controller that does not answer
# The last two may contain a "|", but hardly do.
_FIELDS = "%i|%j|%T|%N|%L|%b|%r|%Z"
_QUEUE = ("squeue", "--me", "--noheader", "--states=all", f"--format={_FIELDS}")
# squeue(1), "Job state codes". All others are states of a job that has ended.
_PENDING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT"}
_RUNNING = {"RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
_ENDING = {"COMPLETING"}
_ENDED_WELL = {"COMPLETED", "CANCELLED"}
_CAUSES = {
    "TIMEOUT": "time limit",
    "NODE_FAIL": "node failure",
    "OUT_OF_MEMORY": "out of memory",
    "BOOT_FAIL": "boot failure",
}
_GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
# What a variable of the host of the user's login refers to does not exist on a node. Slurm sets some of them itself.
_OF_LOGIN_HOST = (
    "SLURM_.*|SLURMD_.*|SBATCH_.*|SRUN_.*|SALLOC_.*|DBUS_.*|XDG_RUNTIME_DIR|DISPLAY|WAYLAND_DISPLAY|XAUTHORITY|"
    f"ICEAUTHORITY|SESSION_MANAGER|HOSTNAME|{'|'.join(_GPU_VARIABLES)}"
)
# Options of sbatch that the script sets, or with which it would not be one server that this backend can find.
_RESERVED = frozenset(
    {"array", "chdir", "clusters", "cpus-per-task", "error", "export", "export-file", "get-user-env", "input"}
    | {"job-name", "mem", "nice", "no-requeue", "open-mode", "output", "parsable", "requeue", "signal", "test-only"}
    | {"wait", "wrap"}
)
_OPTION_OF_RESERVED = {"mem": "--memory-max", "cpus-per-task": "--cpu-quota", "nice": "--nice", "chdir": "--cwd"}
# Variables of the caller that would override options of the script, and are not named like them (sbatch(1)).
_INPUT_VARIABLES = {"time": "TIMELIMIT", "no-requeue": "REQUEUE", "mem": "MEM_PER_NODE", "export-file": "EXPORT"}


class _Job(NamedTuple):
    id: str
    name: str
    state: str
    node: str
    time_left: str
    gpus: str
    reason: str
    directory: str


class SlurmBackend(Backend):
    """Runtimes as jobs named ``mrmd-python@<id>``."""

    name = "slurm"
    noun = "a Slurm job"
    automatic = False
    remote = True
    limits = frozenset({"memory_max", "cpu_quota", "nice", "properties"})

    def detect(self) -> None:
        """Check that Slurm is installed and that its controller answers, which takes milliseconds."""
        _check_controller()

    def prepare(self, spec: RuntimeSpec) -> RuntimeSpec:
        """Check the limits, and require a token: other users of the cluster can reach the port."""
        _options(spec)
        return replace(super().prepare(spec), token=True)

    def check_variables(self, variables: Mapping[str, str]) -> None:
        """Refuse to name GPUs: Slurm chooses them."""
        named = next((variables[name] for name in _GPU_VARIABLES if variables.get(name)), None)
        if named is not None:
            count = len(named.split(","))
            raise ServiceError(f"GPUs {named}: Slurm chooses the devices of a job; use --property gres=gpu:{count}")

    def render(self, home: Home, spec: RuntimeSpec, environment: Mapping[str, str]) -> bytes:
        """Return the batch script."""
        command = [_word(word) for word in spec.server_command()]
        lines = {
            "#SBATCH --job-name=mrmd-python@ID": [_directive("job-name", f"{_JOB_PREFIX}{spec.id}")],
            "#SBATCH --chdir=HOME": [_directive("chdir", str(home.root))],
            # A % begins a replacement symbol (sbatch(1), "filename pattern").
            "#SBATCH --output=LOG": [_directive("output", str(home.log(spec.id)).replace("%", "%%"))],
            # The command that submits this passes the environment by a descriptor.
            "#SBATCH --export-file=ENVIRONMENT": [],
            "# Limits.": [_directive(*option) for option in _options(spec).items()],
            "umask MASK": [f"umask {spec.umask}"] if spec.umask is not None else [],
            "exec SERVER": [" \\\n    ".join(["exec " + " ".join(command[:4]), *command[4:]])],
        }
        text = template("slurm", _TEMPLATE).splitlines()
        return os.fsencode("".join(f"{line}\n" for known in text for line in lines.get(known, [known])))

    def start(self, home: Home, spec: RuntimeSpec, environment: Mapping[str, str], *, wait: bool) -> None:
        """Submit the job; wait while it is pending, for as long as that takes, and until its server answers."""
        before = log_size(home.log(spec.id))
        job_id = _submit(spec.id, self.render(home, spec, environment).decode(errors="surrogateescape"), environment)
        if wait:
            self._wait_until_it_answers(home, spec.id, job_id, before, spec.timeout + _BACKSTOP_SECONDS)

    def restart(self, home: Home, runtime_id: str, record: Record | None) -> None:
        """End the job and submit its script again."""
        _check_controller()
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
        job = _jobs().get(record.unit or "")
        return job is not None and job.name == _JOB_PREFIX + record.id and job.state in _RUNNING

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
        pauses = _query_pauses()
        while (job := _job(runtime_id, job_id)) is not None and _is_live(job):
            if _has_answered(home, runtime_id, job_id):
                return job.state in _RUNNING
            time.sleep(next(pauses))
        return False

    def is_starting(self, runtime_id: str) -> bool:
        """Return whether there is a job that is pending or runs."""
        job_id = _job_id(runtime_id, None)
        job = _job(runtime_id, job_id) if job_id is not None else None
        return job is not None and _is_live(job)

    def is_installed(self, runtime_id: str) -> bool:
        """Return whether there is a script for this id, which stays when its job has ended."""
        return _script(runtime_id).exists()

    def states(self) -> dict[str, State]:
        """Return the runtimes with a script, with what Slurm says of their jobs."""
        ids = [path.stem for path in _directory().glob("*.sh") if is_id(path.stem)]
        if not ids:
            return {}
        try:
            jobs = _jobs()
        except ServiceError as error:
            return dict.fromkeys(ids, State("unknown", None, False, str(error)))
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
        """Return once the server of a job has announced itself; from when it runs, it has `seconds`."""
        deadline, heard = math.inf, time.monotonic()
        next_query, pauses = 0.0, _query_pauses()
        while not _has_answered(home, runtime_id, job_id):
            now = time.monotonic()
            if now > deadline:
                raise StartFailedError(
                    f"Slurm job {job_id} runs, but its server does not answer; see {home.log(runtime_id)}"
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
                    if job is None or job.state not in _PENDING | _RUNNING:
                        if _has_answered(home, runtime_id, job_id):
                            return
                        raise StartFailedError(_failure(home, runtime_id, job_id, job, before))
                    self.on_progress(_progress(job))
                    if job.state in _RUNNING:
                        deadline = min(deadline, now + seconds)
                next_query = time.monotonic() + next(pauses)
            time.sleep(_LOOK_SECONDS)


def _query_pauses() -> Iterator[float]:
    """Yield the seconds between queries of the controller, which all users share: short at first, then longer."""
    pause, longest = _QUERY_SECONDS
    while True:
        yield pause
        pause = min(pause * 1.5, longest)


def _directory() -> Path:
    return Home.of(os.environ).root / "jobs"


def _script(runtime_id: str) -> Path:
    return _directory() / f"{runtime_id}.sh"


_JOB_LINE = r"(?m)^# Submitted as job (\d+)\.\n\Z"


def _script_text(runtime_id: str) -> str:
    """Return the script of a runtime as it was rendered."""
    try:
        text = _script(runtime_id).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise ServiceError(f"cannot read {_script(runtime_id)}: {error.strerror}") from None
    return re.sub(_JOB_LINE, "", text)


def _job_id(runtime_id: str, record: Record | None) -> str | None:
    """Return the last job of a runtime, if any."""
    try:
        found = re.search(_JOB_LINE, _script(runtime_id).read_text(encoding="utf-8", errors="surrogateescape"))
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
    options = re.findall(r"^#SBATCH --([a-z-]+)", script, re.MULTILINE)
    overriding = {f"SBATCH_{_INPUT_VARIABLES.get(name, name.replace('-', '_').upper())}" for name in options}
    import tempfile  # not above: every command loads this module

    with tempfile.TemporaryFile() as given:
        given.write(b"".join(os.fsencode(f"{name}={value}\0") for name, value in _for_node(environment).items()))
        given.seek(0)
        done = _command(
            ["sbatch", "--parsable", f"--export-file={given.fileno()}", str(path)],
            {name: value for name, value in os.environ.items() if name not in overriding},
            pass_fds=[given.fileno()],
        )
    if done.returncode != 0:
        path.unlink()
        raise ServiceError(f"Slurm refuses the job: {_words(done.stderr)}")
    job_id = done.stdout.strip().partition(";")[0]
    write_atomically(path, os.fsencode(f"{script}# Submitted as job {job_id}.\n"))
    return job_id


def _for_node(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what of a captured environment has a meaning on a node."""
    user = pwd.getpwuid(os.getuid())
    least = {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name, "PATH": "/usr/local/bin:/usr/bin:/bin"}
    return least | {name: value for name, value in environment.items() if not re.fullmatch(_OF_LOGIN_HOST, name)}


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
        if job is None or not _is_live(job):
            return
        # Not a job of another name: an administrator may have let Slurm count from 1 again.
        _slurm(["scancel", f"--name={job.name}", job_id])
    except ServiceError as error:
        raise ServiceError(f"cannot cancel job {job_id} of {runtime_id!r}: {error}") from None
    # The claim is of use only if this host sees the locks of the node.
    was_announced = record is not None and has_locks_of_all_hosts(home.root)
    deadline = time.monotonic() + seconds
    next_query, pauses = 0.0, _query_pauses()
    while True:
        if was_announced and not home.record(runtime_id).exists() and not is_claimed(home.claim(runtime_id)):
            return
        if time.monotonic() >= next_query:
            job = _job(runtime_id, job_id)
            if job is None or not _is_live(job):
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
    name, directory = _JOB_PREFIX + runtime_id, str(Home.of(os.environ).root)
    found = (job.id for job in _jobs().values() if (job.name, job.directory) == (name, directory) and _is_live(job))
    return next(found, None)


def _has_answered(home: Home, runtime_id: str, job_id: str) -> bool:
    """Return whether the server of a job has announced itself."""
    try:
        record = registry.read(home, runtime_id)
    except UnreadableRecordError:
        return False
    return record is not None and record.unit == job_id


def _jobs() -> dict[str, _Job]:
    """Return the user's jobs that Slurm knows, by id; those that ended are among them for a while (MinJobAge)."""
    _check_controller()
    rows = (line.split("|", 7) for line in _slurm(_QUEUE).splitlines())
    return {row[0]: _Job(*row) for row in rows if len(row) == 8}


def _job(runtime_id: str, job_id: str) -> _Job | None:
    job = _jobs().get(job_id)
    return job if job is not None and job.name == _JOB_PREFIX + runtime_id else None


def _is_live(job: _Job) -> bool:
    return job.state in _PENDING | _RUNNING | _ENDING


def _state(runtime_id: str, jobs: Mapping[str, _Job]) -> State:
    job_id = _job_id(runtime_id, None)
    job = jobs.get(job_id or "")
    if job is None or job.name != _JOB_PREFIX + runtime_id:
        if job_id is None:
            return State("stopped", None, False, "never submitted")
        cause = _cause_in_log(runtime_id, job_id)
        return State("failed" if cause else "stopped", None, False, cause or f"Slurm no longer knows job {job_id}")
    given = {
        "job": job.id,
        "node": job.node,
        "left": job.time_left if job.state in _RUNNING else "",
        "gpus": "" if job.gpus == "N/A" else job.gpus.removeprefix("gres/").removeprefix("gres:"),
    }
    status, detail = _status(runtime_id, job)
    return State(status, None, False, detail, {name: value for name, value in given.items() if value})


def _status(runtime_id: str, job: _Job) -> tuple[str, str | None]:
    """Return the state to show for a job, and what else there is to say about it."""
    reason = None if job.reason == "None" else job.reason
    if job.state in _PENDING:
        return "pending", reason
    if job.state in _RUNNING:
        answers = _has_answered(Home.of(os.environ), runtime_id, job.id)
        return "running" if answers else "starting", None if job.state == "RUNNING" else job.state.lower()
    if job.state in _ENDING:
        return "stopping", None
    return "stopped" if job.state in _ENDED_WELL else "failed", _CAUSES.get(job.state, job.state).lower()


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


def _progress(job: _Job) -> str:
    if job.state in _PENDING:
        return f"job {job.id} is pending" + (f": {job.reason}" if job.reason != "None" else "")
    return f"job {job.id} on {job.node}"


def _failure(home: Home, runtime_id: str, job_id: str, job: _Job | None, before: int) -> str:
    """Return why a job ended before its server answered: Slurm's words, and the last lines of the log."""
    log = home.log(runtime_id)
    lines = tail(log, before)
    ended = "it was cancelled" if job is None else f"{job.state} ({job.reason})"
    node = f" on {job.node}" if job is not None and job.node else ""
    return f"Slurm job {job_id} ended{node} before its server answered: {ended}\n" + (
        lines or f"It wrote nothing to {log}: does the node have that directory?"
    )


def _options(spec: RuntimeSpec) -> dict[str, str | None]:
    """Return the options of sbatch for the limits of a spec, by name; None for one without a value.

    Raises:
        ServiceError: Slurm cannot express a limit, or the option is one that this backend sets.
    """
    options: dict[str, str | None] = {}
    if spec.memory_max is not None:
        options["mem"] = _memory(spec.memory_max)
    if spec.cpu_quota is not None:
        options["cpus-per-task"] = str(math.ceil(float(spec.cpu_quota.rstrip("%")) / 100))
    if spec.nice is not None:
        options["nice"] = str(spec.nice)
    for each in spec.properties:
        name, _, value = each.partition("=")
        if name in _RESERVED:
            instead = f"; use {_OPTION_OF_RESERVED[name]}" if name in _OPTION_OF_RESERVED else ""
            raise ServiceError(f"--property {each}: mrmd-python sets this option of sbatch itself{instead}")
        options[name] = value or None
    return options


def _memory(size: str) -> str:
    """Return --memory-max as sbatch's --mem: a whole number and a unit, of which M is the default; 0 for all."""
    if size == "infinity":
        return "0"
    if size.endswith("%"):
        raise ServiceError(f"--memory-max {size}: Slurm needs a size, as in 8G")
    if re.fullmatch(r"\d+[KMGT]", size):
        return size
    factor = 1024 ** (" KMGTPE".index(size[-1]) if size[-1].isalpha() else 0)
    return f"{math.ceil(float(size.rstrip('KMGTPE')) * factor / 1024)}K"


def _word(text: str) -> str:
    """Return a word of a shell command. sbatch refuses a script with a carriage return at the end of a line."""
    return shlex.quote(text).replace("\r", """'"$(printf '\\r')"'""")


def _directive(name: str, value: str | None) -> str:
    r"""Return an option as a line of a batch script. sbatch reads quotes and backslashes there as a shell does.

    Raises:
        ServiceError: the value cannot be written in a line, or Slurm would change it.
    """
    if value is None:
        return f"#SBATCH --{name}"
    if re.search(r"[\n\\]", value):
        raise ServiceError(f"Slurm cannot take {value!r} for --{name}: use a plain name, without backslashes")
    plain = re.fullmatch(r"[A-Za-z0-9_@%+=:,./()*&|\[\]-]*", value)
    quoted = value if plain else '"' + value.replace('"', '\\"') + '"'
    return f"#SBATCH --{name}={quoted}"


def _address(node: str) -> str:
    """Return the address to listen on: the node's name, unless the node resolves it to loopback."""
    import socket
    from ipaddress import ip_address

    try:
        found = {ip_address(str(each[4][0]).partition("%")[0]) for each in socket.getaddrinfo(node, None)}
    except OSError:
        found = set()
    return node if any(not address.is_loopback for address in found) else "0.0.0.0"


def _check_controller() -> None:
    """Check that a controller answers. Other commands take ten seconds to find out that none does.

    Raises:
        NotInstalledError: Slurm is not installed here.
        ServiceError: no controller answers.
    """
    done = _command(["scontrol", "ping"])
    if " UP" not in done.stdout:
        raise ServiceError(f"Slurm does not answer: {_words(done.stdout or done.stderr)}")


def _slurm(command: Sequence[str]) -> str:
    """Return what a command of Slurm prints.

    Raises:
        ServiceError: it fails; the message has Slurm's words.
    """
    done = _command(command)
    if done.returncode != 0:
        raise ServiceError(f"Slurm does not answer: {_words(done.stderr)}")
    return done.stdout


def _command(
    command: Sequence[str], environ: Mapping[str, str] | None = None, pass_fds: Sequence[int] = ()
) -> "subprocess.CompletedProcess[str]":
    try:
        return run(command, _ANSWER_SECONDS, environ, pass_fds)
    except FileNotFoundError:
        raise NotInstalledError(f"{command[0]} is not installed on this machine") from None
    except subprocess.TimeoutExpired:
        raise ServiceError(f"Slurm does not answer: {command[0]} took longer than {_ANSWER_SECONDS:.0f} s") from None


def _words(text: str) -> str:
    """Return what Slurm says, as one line."""
    lines = (
        re.sub(r"^(sbatch|squeue|scancel|scontrol|slurm_load_jobs): (error: )?", "", line) for line in text.splitlines()
    )
    return "; ".join(line.strip() for line in lines if line.strip() and not line.startswith("Try "))


BACKEND = SlurmBackend
