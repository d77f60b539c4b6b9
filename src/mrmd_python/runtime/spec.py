"""What a runtime is started with, and the command line that starts its server from it."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from mrmd_python.runtime.venv import VenvSource


def _limit(option: str | None = None, *, default: Any = None) -> Any:
    """Return a field that limits what a runtime may use. A backend says which limits it can enforce."""
    return field(default=default, metadata={"option": option, "is_limit": True})


def _repeatable(option: str) -> Any:
    """Return a field for an option that may be repeated."""
    return field(default=(), metadata={"option": option})


@dataclass(frozen=True)
class RuntimeSpec:
    """One runtime: a field for each option of the command line that its server or its backend needs.

    Fields are named as click names the parameters, so that a spec is made from what was typed, and the command line of
    a server from the spec, without naming each option again. Paths are absolute.
    """

    id: str
    # The prefix of the interpreter that sessions use by default, the interpreter, and what chose it.
    venv: str
    python: str
    venv_source: VenvSource
    cwd: str
    host: str = "localhost"
    # 0 for the last one, or any free one.
    port: int = 0
    assets_dir: str | None = None
    # None for a runtime that only the terminal keeps.
    backend: str | None = None
    # Seconds without execution and client, after which it ends by itself; 0 for never.
    idle_timeout: int = 0
    # Seconds that it may take until it answers.
    timeout: int = 90
    # Another program owns the process, and the registry does not list it.
    managed: bool = False
    # It ends once its standard input does: its owner keeps the other end open.
    until_eof: bool = False
    # Clients must send the token in `Home.token` or, if it is managed, in MRMD_TOKEN.
    token: bool = False
    # Who may use it besides the user's own programs and editors.
    allow_hosts: tuple[str, ...] = _repeatable("--allow-host")
    allow_origins: tuple[str, ...] = _repeatable("--allow-origin")
    allow_users: tuple[int, ...] = _repeatable("--allow-user")
    # As in systemd.resource-control(5).
    memory_max: str | None = _limit()
    memory_high: str | None = _limit()
    cpu_quota: str | None = _limit()
    tasks_max: str | None = _limit()
    nice: int | None = _limit()
    properties: tuple[str, ...] = _limit("--property", default=())

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "RuntimeSpec":
        """Return the spec that a record holds; what a newer version has added is ignored.

        Raises:
            TypeError: a field is missing.
        """
        known = {each.name for each in fields(cls)} & found.keys()
        values: dict[str, Any] = {
            name: tuple(found[name]) if isinstance(found[name], list) else found[name] for name in known
        }
        return cls(**values)

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def options(self) -> list[str]:
        """Return this spec as options of the command, without those that have their default."""
        options: list[str] = []
        for each in fields(self):
            value = getattr(self, each.name)
            if value == each.default and each.default is not MISSING:
                continue
            if value is True:
                options.append(_option(each))
            else:  # as --option=value, since a value may start with a dash
                values = value if isinstance(value, tuple) else (value,)
                options.extend(f"{_option(each)}={one}" for one in values)
        return options

    def limits(self) -> dict[str, str]:
        """Return the limits that are set: the option of each, by the name of its field."""
        return {
            each.name: _option(each)
            for each in fields(self)
            if each.metadata.get("is_limit") and getattr(self, each.name) != each.default
        }

    def server_command(self) -> list[str]:
        """Return the command that serves this runtime in the foreground, as a person could type it."""
        return server_command(self.options())


def server_command(options: Iterable[str]) -> list[str]:
    """Return the command that serves the runtime with these options in the foreground.

    It runs this interpreter without PYTHONPATH and the like (-E), and names the package by its path: ``-m`` would
    import what is in the working directory.
    """
    package = Path(__file__).resolve().parents[1]
    return [sys.executable, "-E", str(package), "--foreground", *options]


def _option(each: "Field[Any]") -> str:
    return each.metadata.get("option") or f"--{each.name.replace('_', '-')}"


@dataclass(frozen=True)
class Service:
    """What a server must know about the service that it runs as."""

    # The name of the backend, as the record has it.
    backend: str
    # The systemd unit, the launchd label or the like.
    unit: str | None
    # Where the user finds the log: a file, or the command that shows it.
    log: str
    # The file that the server logs to; None for stderr.
    log_file: Path | None = None
    # Whether something may start the runtime again after it has ended in order, from the files of its last start.
    restartable: bool = False
    # The exit status of a server that cannot serve, which the service manager does not restart (sysexits.h, EX_CONFIG).
    failure_status: int = 78
    # The name under which clients reach this machine; None if they are on it.
    host: str | None = None
