"""How to start a runtime: the spec, and the command line of the server."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from mrmd_python.runtime.venv import VenvSource, absolute_path, find_venv, own_python, working_directory

DEFAULT_STOP_TIMEOUT = 5
# How to parse the values of the options whose fields have these types; others are text.
_PARSERS: Mapping[Any, Callable[[str], Any]] = {int: int, int | None: int, tuple[int, ...]: int}
# How much longer the server may take to stop than the processes of its sessions.
_SERVER_STOP_SECONDS = 10


def _limit(option: str | None = None, *, default: Any = None) -> Any:
    """Return a field that limits what a runtime may use. A backend says which limits it can enforce."""
    return field(default=default, metadata={"option": option, "is_limit": True})


def _repeatable(option: str) -> Any:
    """Return a field for an option that may be repeated."""
    return field(default=(), metadata={"option": option})


@dataclass(frozen=True)
class RuntimeSpec:
    """The options of one runtime: a field for each command-line option that its server or its backend needs.

    The fields have the names of click's parameters, so that the spec can be made from the parsed options, and the
    server's command line from the spec. Paths are absolute.
    """

    id: str
    # The default interpreter of sessions: its prefix, its path, and what chose it.
    venv: str
    python: str
    venv_source: VenvSource
    cwd: str
    host: str = "localhost"
    # 0 for the last port of this id, or any free one.
    port: int = 0
    assets_dir: str | None = None
    # None for a runtime in the foreground of a terminal.
    backend: str | None = None
    # Stop after this many seconds without executions and clients; 0 for never.
    idle_timeout: int = 0
    # The file mode creation mask of its processes, in octal; None for the service manager's.
    umask: str | None = None
    # How many seconds it may take to answer.
    timeout: int = 90
    # How many seconds the processes of a session may take to end after SIGTERM.
    stop_timeout: int = DEFAULT_STOP_TIMEOUT
    # Whether another program owns the process, which then is not in the registry.
    managed: bool = False
    # Whether to stop at the end of standard input, which is a pipe from the owner.
    until_eof: bool = False
    # Whether clients must send the token that is in `Home.token` or, if `managed`, in MRMD_TOKEN.
    token: bool = False
    # Clients with access besides the user's own programs and editors.
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
    def from_options(cls, options: Mapping[str, Any], environ: Mapping[str, str]) -> "RuntimeSpec":
        """Return the spec for options as the user gave them: makes paths absolute, and finds the interpreter.

        Args:
            options: values of fields; others are ignored. An absent one, or None, has its default.
            environ: the caller's environment.

        Raises:
            ServiceError: the directory or the interpreter does not exist.
        """
        values = {each.name: options[each.name] for each in fields(cls) if options.get(each.name) is not None}
        values["cwd"] = str(working_directory(values.get("cwd")))
        if "python" not in values:
            found = find_venv(values.get("venv"), environ)
            values |= {"venv": found.prefix, "python": found.python, "venv_source": found.source}
        values.setdefault("umask", _current_umask())
        if "assets_dir" in values:
            values["assets_dir"] = str(absolute_path(values["assets_dir"]))
        return cls(**values)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "RuntimeSpec":
        """Return the spec in a record. Fields of newer versions are ignored.

        Raises:
            TypeError: a field is missing.
        """
        known = {each.name for each in fields(cls)} & found.keys()
        values: dict[str, Any] = {
            name: tuple(found[name]) if isinstance(found[name], list) else found[name] for name in known
        }
        return cls(**values)

    def as_json(self) -> dict[str, Any]:
        """Return the JSON that `from_json` reads."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def options(self) -> list[str]:
        """Return this spec as command-line options, without those that have their default."""
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

    @classmethod
    def parse_options(cls, arguments: Iterable[str]) -> dict[str, Any]:
        """Return the values of fields from command-line options as `options` returns them.

        Raises:
            ValueError: they have another form, which only the command line can parse.
        """
        by_option = {_option(each): each for each in fields(cls)}
        found: dict[str, Any] = {}
        for argument in arguments:
            option, has_value, text = argument.partition("=")
            each = by_option.get(option)
            if each is None or (each.type is bool) == bool(has_value):
                raise ValueError(argument)
            value = True if each.type is bool else _PARSERS.get(each.type, str)(text)
            found[each.name] = (*found.get(each.name, ()), value) if isinstance(each.default, tuple) else value
        return found

    def limits(self) -> dict[str, str]:
        """Return the options of the limits that are set, by the name of the field."""
        return {
            each.name: _option(each)
            for each in fields(self)
            if each.metadata.get("is_limit") and getattr(self, each.name) != each.default
        }

    def server_command(self) -> list[str]:
        """Return the command that serves this runtime in the foreground, as a user could type it."""
        return server_command(self.options())


def _current_umask() -> str:
    """Return this process's umask, in octal. To read it is to set it (umask(2)): to a strict one, for other threads."""
    found = os.umask(0o077)
    os.umask(found)
    return f"{found:04o}"


def server_command(options: Iterable[str]) -> list[str]:
    """Return the command that serves the runtime with these options in the foreground.

    It runs without PYTHONPATH and the like (-E), and names the package by its path: ``-m`` would
    import modules from the working directory.
    """
    package = Path(__file__).resolve().parents[1]
    return [own_python(), "-E", str(package), "--foreground", *options]


def _option(each: "Field[Any]") -> str:
    return each.metadata.get("option") or f"--{each.name.replace('_', '-')}"


def stop_seconds(stop_timeout: int) -> int:
    """Return how many seconds a server with this stop timeout may take to stop."""
    return stop_timeout + _SERVER_STOP_SECONDS


class Service(NamedTuple):
    """What a server must know about its service."""

    # The name of the backend, for the record.
    backend: str
    # The systemd unit, the launchd label or the like.
    unit: str | None
    # The log file, or the command that shows the log.
    log: str
    # The file that the server logs to; None for stderr.
    log_file: Path | None = None
    # Whether the runtime may be started again after it was stopped, from the files of its last start.
    restartable: bool = False
    # The exit status of a server that cannot serve. The service manager does not restart it (sysexits.h, EX_CONFIG).
    failure_status: int = 78
    # After how many failed starts in a row it gives up; None if the service manager counts them.
    most_starts: int | None = None
    # The name under which clients on other machines reach it; None if they are on this one.
    host: str | None = None
    # The address to listen on, besides loopback, if --host names none.
    address: str | None = None
    # Whether the service manager starts it in a coalition of its own, as launchd does.
    has_coalition: bool = False
    # What to print in the log and in the output of what runs when SIGUSR1 arrives.
    warning: str | None = None
