"""The property list of a launchd agent, checked against launchd.plist(5): undocumented keys are errors."""

import os
import plistlib
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Every key that the man page documents as supported, with the types of its value.
DOCUMENTED: dict[str, tuple[type, ...]] = {
    "Label": (str,), "Disabled": (bool,), "UserName": (str,), "GroupName": (str,), "inetdCompatibility": (dict,),
    "LimitLoadToSessionType": (str, list), "LimitLoadToHardware": (dict,), "LimitLoadFromHardware": (dict,),
    "Program": (str,), "BundleProgram": (str,), "ProgramArguments": (list,), "EnableGlobbing": (bool,),
    "EnableTransactions": (bool,), "EnablePressuredExit": (bool,), "KeepAlive": (bool, dict), "RunAtLoad": (bool,),
    "RootDirectory": (str,), "WorkingDirectory": (str,), "EnvironmentVariables": (dict,), "Umask": (int, str),
    "ExitTimeOut": (int,), "ThrottleInterval": (int,), "InitGroups": (bool,), "WatchPaths": (list,),
    "QueueDirectories": (list,), "StartOnMount": (bool,), "StartInterval": (int,),
    "StartCalendarInterval": (dict, list), "StandardInPath": (str,), "StandardOutPath": (str,),
    "StandardErrorPath": (str,), "Debug": (bool,), "WaitForDebugger": (bool,), "SoftResourceLimits": (dict,),
    "HardResourceLimits": (dict,), "Nice": (int,), "ProcessType": (str,), "AbandonProcessGroup": (bool,),
    "LowPriorityIO": (bool,), "LowPriorityBackgroundIO": (bool,), "MaterializeDatalessFiles": (bool,),
    "LaunchOnlyOnce": (bool,), "MachServices": (dict,), "Sockets": (dict,), "LaunchEvents": (dict,),
    "SessionCreate": (bool,), "LegacyTimers": (bool,),
}  # fmt: skip
_KEEP_ALIVE = {"SuccessfulExit": bool, "PathState": dict, "OtherJobEnabled": dict, "Crashed": bool}
_PROCESS_TYPES = ("Background", "Standard", "Adaptive", "Interactive")
_CRASHES = {"SIGILL", "SIGTRAP", "SIGABRT", "SIGFPE", "SIGBUS", "SIGSEGV", "SIGSYS"}  # launchd-842, core.c, job_reap()


class RefusedError(Exception):
    """A property list that launchd rejects, or reads differently than intended."""


@dataclass(frozen=True)
class Agent:
    """The definition of a launchd job."""

    path: Path
    keys: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> "Agent":
        """Read and check the property list at `path`."""
        if not path.is_absolute() or path.suffix != ".plist":
            raise RefusedError(f"{path} is not the absolute path of a property list")
        status = path.stat()
        # launchctl(1): "Configuration files must disallow group and world writes" and belong to the user.
        if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise RefusedError(f"{path} has bad ownership or permissions")
        agent = cls(path, plistlib.loads(path.read_bytes()))
        agent._check()
        return agent

    def _check(self) -> None:
        for key, value in self.keys.items():
            if type(value) not in DOCUMENTED.get(key, ()):
                raise RefusedError(f"{key} = {value!r} is not documented")
        if self.path.name != f"{self.label}.plist":
            raise RefusedError(f"{self.label} is in a file named {self.path.name}")
        texts = [*self.keys["ProgramArguments"], *self.keys.get("EnvironmentVariables", {}).values()]
        if not all(isinstance(text, str) and "\0" not in text for text in texts):
            raise RefusedError("ProgramArguments and EnvironmentVariables must hold strings")
        keep = self.keys.get("KeepAlive")
        if isinstance(keep, dict) and any(type(value) is not _KEEP_ALIVE.get(key) for key, value in keep.items()):
            raise RefusedError(f"KeepAlive = {keep} is not documented")
        if self.keys.get("ProcessType", "Standard") not in _PROCESS_TYPES:
            raise RefusedError(f"ProcessType = {self.keys['ProcessType']} is not documented")

    @property
    def label(self) -> str:
        """The job's name."""
        return str(self.keys["Label"])

    def runs_at_load(self) -> bool:
        """Return whether the job starts when it is loaded; KeepAlive implies that."""
        return bool(self.keys.get("RunAtLoad") or self.keys.get("KeepAlive"))

    def restarts_after(self, code: int | None, signal: str | None) -> bool:
        """Return whether KeepAlive restarts the job after this exit; its conditions are ORed."""
        keep = self.keys.get("KeepAlive", False)
        if isinstance(keep, bool):
            return keep
        facts = {"SuccessfulExit": code == 0, "Crashed": signal in _CRASHES}
        return any(fact == keep.get(key) for key, fact in facts.items())
