"""The agents of the user's GUI domain, by launchctl(1)."""

import os
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from mrmd_python.manager.backends.base import NotInstalledError, UnusableBackendError, run
from mrmd_python.runtime import ServiceError

_ANSWER_SECONDS = 10.0
# For how long launchd may refuse what it takes a moment later.
_RETRY_SECONDS = 15.0
_PAUSE_SECONDS = 0.05
# Statuses of launchctl: those of <sys/errno.h> of macOS, and launchd's own, which `launchctl error` explains.
_IO_ERROR = 5
_NOW_IN_PROGRESS = 36  # a bootout of this service has already begun
_ALREADY_IN_PROGRESS = 37
_NO_SUCH_SERVICE = 113


class Job(NamedTuple):
    """An agent that launchd has loaded, as ``launchctl print`` shows it.

    launchctl(1) does not document this output. On macOS 10.10 to 26, a line is a tab and a field (nested fields are
    indented further). There is ``pid`` while the agent runs; then ``last exit code`` (``(never exited)`` at first),
    ``last terminating signal`` or ``last exit reason``; and ``state = spawn scheduled`` while it waits for a restart.
    """

    # running, not running, spawn scheduled, SIGTERMed, ...
    state: str
    fields: Mapping[str, str]

    @classmethod
    def of(cls, label: str) -> "Job | None":
        """Return the agent of a label, or None if it is not loaded.

        Raises:
            ServiceError: launchd does not say whether it is loaded.
        """
        deadline = time.monotonic() + _RETRY_SECONDS
        while True:
            answer = _launchctl("print", _target(label))
            if answer.returncode == 0:
                return cls._parse(answer.stdout)
            # Other statuses do not mean that it is not loaded (https://github.com/pingdotgg/t3code/issues/12005). But
            # after a logout at the screen there is no domain, and no agent.
            if answer.returncode == _NO_SUCH_SERVICE or _launchctl("print", _domain()).returncode != 0:
                return None
            if time.monotonic() > deadline:
                raise ServiceError(f"launchd does not say whether {label} is loaded ({_last_line(answer.stderr)})")
            time.sleep(_PAUSE_SECONDS)

    @classmethod
    def _parse(cls, text: str) -> "Job":
        # The arguments and the environment are printed as they are, so a line of them can look like a field. The state
        # comes before them; the other fields after them, from "runs" on.
        state = re.search(r"^\tstate = (.*)$", text, re.MULTILINE)
        rest = re.split(r"^\truns = \d+$", text, flags=re.MULTILINE)[-1]
        fields = dict(re.findall(r"^\t(\w[\w ]*) = (.*)$", rest, re.MULTILINE))
        return cls("" if state is None else state[1], fields)

    def is_active(self) -> bool:
        """Return whether it is running or about to be restarted."""
        return "pid" in self.fields or self.is_waiting()

    def is_waiting(self) -> bool:
        """Return whether it is about to be restarted."""
        return self.state == "spawn scheduled"

    def end(self) -> str | None:
        """Return how its last process since it was loaded ended, or None if none did."""
        for name in ("last terminating signal", "last exit reason", "last exit code"):
            if self.fields.get(name, "(never exited)") != "(never exited)":
                return f"{name} = {self.fields[name]}"
        return None


def check_domain() -> None:
    """Check that there is a GUI domain, ``gui/UID``.

    Raises:
        NotInstalledError: there is no launchd.
        ServiceError: it has no such domain.
    """
    answer = _launchctl("print", _domain())
    if answer.returncode != 0:
        raise ServiceError(f"this user is not logged in at the screen (launchctl: {_last_line(answer.stderr)})")


def load(label: str, path: Path) -> None:
    """Load an agent that is not loaded from its file, and start it.

    Raises:
        UnusableBackendError: launchd refuses it.
        ServiceError: launchd does not start it, or does not answer.
    """
    enable(label)
    deadline = time.monotonic() + _RETRY_SECONDS
    while True:
        loaded = _launchctl("bootstrap", _domain(), str(path))
        # The status is not enough: 5 can mean that the agent is loaded
        # (https://github.com/electricsheephq/evaos-code-review-bot-neondiff/pull/776), or that it will be if this is
        # repeated: for seconds after a bootout, launchd answers 5 or 37.
        job = Job.of(label)
        if job is not None:
            break
        if loaded.returncode not in (0, _IO_ERROR, _ALREADY_IN_PROGRESS) or time.monotonic() > deadline:
            # Also a domain that exists may take no agents: https://github.com/NousResearch/hermes-agent/issues/23387
            raise UnusableBackendError(f"launchd refused the agent ({_last_line(loaded.stderr)})")
        time.sleep(_PAUSE_SECONDS)
    # launchd may delay an agent if another one with its label was loaded shortly before, or not start it at all
    # (https://github.com/openbase-community/openbase/pull/15). Here too, only the state counts.
    while job is not None and job.end() is None:
        kicked = _launchctl("kickstart", _target(label))
        job = Job.of(label)
        if job is None or job.is_active():
            break
        if time.monotonic() > deadline:
            raise ServiceError(f"launchd does not start the agent ({_last_line(kicked.stderr)})")
        time.sleep(_PAUSE_SECONDS)


def unload(label: str, seconds: float) -> None:
    """Make launchd stop and unload an agent, within `seconds`; return once it is unloaded.

    launchctl may return before that, and a bootstrap of the same label would then fail.

    Raises:
        ServiceError: it is not unloaded.
    """
    deadline = time.monotonic() + seconds
    booted_out = _launchctl("bootout", _target(label), timeout=seconds)
    # The status is not enough: for an agent that is not loaded, some releases return 5, some 3.
    while Job.of(label) is not None:
        if booted_out.returncode not in (0, _NOW_IN_PROGRESS):
            raise ServiceError(f"launchd cannot unload {_target(label)}: {_last_line(booted_out.stderr)}")
        if time.monotonic() > deadline:
            raise ServiceError(
                f"launchd did not stop {_target(label)} within {seconds:.0f} s; see `launchctl print {_target(label)}`"
            )
        time.sleep(_PAUSE_SECONDS)


def enable(label: str) -> None:
    """Undo ``launchctl disable``, which outlives the agent's file.

    A disabled agent does not start at login, and bootstrap refuses it with 119 or 5
    (https://github.com/DeterminateSystems/nix-installer/issues/530).
    """
    _launchctl("enable", _target(label))


def _domain() -> str:
    return f"gui/{os.getuid()}"


def _target(label: str) -> str:
    return f"{_domain()}/{label}"


def _launchctl(*arguments: str, timeout: float = _ANSWER_SECONDS) -> "subprocess.CompletedProcess[str]":
    try:
        return run(["launchctl", *arguments], timeout)
    except FileNotFoundError:
        raise NotInstalledError("launchctl is not installed") from None
    except subprocess.TimeoutExpired:
        raise ServiceError(f"launchd did not answer `launchctl {arguments[0]}` within {timeout:.0f} s") from None


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]
