"""The jobs of the user: sbatch(1), squeue(1), scancel(1)."""

import os
import re
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mrmd_python.manager.backends.base import NotInstalledError, run
from mrmd_python.runtime import ServiceError

_ANSWER_SECONDS = 20.0  # the Slurm commands themselves give up after about ten
_QUERY_SECONDS = (0.3, 3.0)  # between two queries of the controller: at first, and later
# The last two may contain a "|", but hardly do.
_FIELDS = "%i|%j|%T|%N|%L|%b|%r|%Z"
_QUEUE = ("squeue", "--me", "--noheader", "--states=all", f"--format={_FIELDS}")
# squeue(1), "Job state codes". All others are states of a job that has ended.
_PENDING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT"}
_RUNNING = {"RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
_ENDING = {"COMPLETING"}
_ENDED_WELL = {"COMPLETED", "CANCELLED"}
_NONE = {"None", "N/A"}


class Job(NamedTuple):
    """A job as Slurm knows it; fields without a value are empty."""

    id: str
    name: str
    # As in squeue(1), "Job state codes".
    state: str
    node: str
    time_left: str
    # As in "gpu:1".
    gpus: str
    # Why it is pending or has ended.
    reason: str
    # Its working directory.
    directory: str

    @property
    def is_pending(self) -> bool:
        """Whether it has yet to run."""
        return self.state in _PENDING

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        return self.state in _RUNNING

    @property
    def is_ending(self) -> bool:
        """Whether Slurm waits for the end of its processes."""
        return self.state in _ENDING

    @property
    def is_live(self) -> bool:
        """Whether it is pending, runs or is ending."""
        return self.is_pending or self.is_running or self.is_ending

    @property
    def has_ended_well(self) -> bool:
        """Whether it has ended by itself without an error, or was cancelled."""
        return self.state in _ENDED_WELL


def check_controller() -> None:
    """Check that a controller answers. Other commands take ten seconds to find out that none does.

    Raises:
        NotInstalledError: Slurm is not installed here.
        ServiceError: no controller answers.
    """
    done = _command(["scontrol", "ping"])
    if " UP" not in done.stdout:
        raise ServiceError(f"Slurm does not answer: {_words(done.stdout or done.stderr)}")


def query_pauses() -> Iterator[float]:
    """Yield the seconds between queries of the controller, which all users share: short at first, then longer."""
    pause, longest = _QUERY_SECONDS
    while True:
        yield pause
        pause = min(pause * 1.5, longest)


def all_jobs() -> dict[str, Job]:
    """Return the user's jobs that Slurm knows, by id; those that ended are among them for a while (MinJobAge).

    Raises:
        ServiceError: Slurm does not answer.
    """
    check_controller()
    rows = (["" if each in _NONE else each for each in line.split("|", 7)] for line in _slurm(_QUEUE).splitlines())
    jobs = (Job(*row) for row in rows if len(row) == len(Job._fields))
    return {job.id: job._replace(gpus=re.sub("^gres[:/]", "", job.gpus)) for job in jobs}


def submit(script: Path, environment: Mapping[str, str], overriding: Collection[str]) -> str:
    """Submit a batch script as a job with exactly this environment; return the job's id.

    Args:
        script: the path of the script.
        environment: the variables of the job.
        overriding: the variables of this process that sbatch must not see.

    Raises:
        ServiceError: Slurm refuses it; the message has Slurm's reason.
    """
    import tempfile  # not above: every command loads this module

    with tempfile.TemporaryFile() as given:
        given.write(b"".join(os.fsencode(f"{name}={value}\0") for name, value in environment.items()))
        given.seek(0)
        done = _command(
            ["sbatch", "--parsable", f"--export-file={given.fileno()}", str(script)],
            {name: value for name, value in os.environ.items() if name not in overriding},
            pass_fds=[given.fileno()],
        )
    if done.returncode != 0:
        raise ServiceError(f"Slurm refuses the job: {_words(done.stderr)}")
    return done.stdout.strip().partition(";")[0]


def cancel(job: Job) -> None:
    """Tell Slurm to end a job.

    Raises:
        ServiceError: Slurm does not answer.
    """
    # Not a job of another name: an administrator may have let Slurm count from 1 again.
    _slurm(["scancel", f"--name={job.name}", job.id])


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
