"""What a runtime is asked to be, on its way from the command line of the CLI to that of the server."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from mrmd_python.runtime.venv import VenvSource


@dataclass(frozen=True)
class Limits:
    """Limits of a runtime as a whole. Each may be None: as the service manager has it."""

    memory_max: str | None = None
    """Bytes, with a suffix K, M, G or T, or a percentage: beyond it the kernel ends processes (``MemoryMax=``)."""
    memory_high: str | None = None
    """As `memory_max`: beyond it processes are slowed and reclaimed from (``MemoryHigh=``)."""
    cpu_quota: str | None = None
    """A percentage of one processor's time (``CPUQuota=``)."""
    tasks_max: str | None = None
    """How many processes and threads (``TasksMax=``)."""
    nice: int | None = None
    """-20, most favoured, to 19 (``Nice=``)."""
    properties: tuple[str, ...] = ()
    """Any other properties of the unit's [Service] section, each as ``KEY=VALUE``."""

    def options(self) -> dict[str, str | int | None]:
        """Return the limits that have an option of their own, by its name."""
        return {
            "--memory-max": self.memory_max,
            "--memory-high": self.memory_high,
            "--cpu-quota": self.cpu_quota,
            "--tasks-max": self.tasks_max,
            "--nice": self.nice,
        }

    def unit_properties(self) -> Iterator[str]:
        """Yield these limits as lines of a unit's [Service] section."""
        keys = ("MemoryMax", "MemoryHigh", "CPUQuota", "TasksMax", "Nice")
        yield from (
            f"{key}={value}" for key, value in zip(keys, self.options().values(), strict=True) if value is not None
        )
        yield from self.properties

    def unsupported(self, supported: frozenset[str]) -> list[str]:
        """Return the options among these that are set and not in `supported`, which has names of fields here."""
        options = {
            **dict(zip(_FIELDS, self.options().items(), strict=True)),
            "properties": ("--property", self.properties),
        }
        return [
            option for name, (option, value) in options.items() if value not in (None, ()) and name not in supported
        ]


_FIELDS = ("memory_max", "memory_high", "cpu_quota", "tasks_max", "nice")


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
    # The name under which clients reach this machine.
    host: str = "localhost"


@dataclass(frozen=True)
class Inherited:
    """Descriptors that a server has from its starter."""

    ready: int | None = None
    """A pipe to report on that it is ready, or why it cannot be."""
    claim: int | None = None
    """The claim of its id, held already."""


@dataclass(frozen=True)
class RuntimeSpec:
    """One runtime. Paths are absolute."""

    id: str
    venv: str
    """The prefix of the interpreter that sessions run in by default."""
    python: str
    """That interpreter."""
    venv_source: VenvSource
    """Why it was this one."""
    cwd: str
    host: str = "localhost"
    port: int = 0
    """The port to listen on; 0 takes a free one."""
    assets_dir: str | None = None
    idle_seconds: int = 0
    """After how long without execution and client it ends by itself; 0: never."""
    start_seconds: int = 90
    """How long it may take until it answers."""
    limits: Limits = field(default_factory=Limits)
    """What it may use, which its keeper sees to."""
    backend: str = "foreground"
    """What keeps the process: systemd, launchd, fork or foreground."""
    managed: bool = False
    """Whether an editor owns the process, so that the registry does not list it."""
    token: bool = False
    """Whether clients must show the token in `Home.token` or, if it is managed, in MRMD_TOKEN."""
    allow_hosts: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    allow_users: tuple[int, ...] = ()
    """Who may speak to it besides the user's own programs and editors: see the module `admission`."""

    def arguments(self) -> list[str]:
        """Return this spec as arguments of the server, which `from_arguments` reads."""
        options: dict[str, object] = {
            "--id": self.id,
            "--venv": self.venv,
            "--python": self.python,
            "--venv-source": self.venv_source,
            "--cwd": self.cwd,
            "--host": self.host,
            "--port": self.port,
            "--backend": self.backend,
            "--idle-seconds": self.idle_seconds,
            "--start-seconds": self.start_seconds,
            "--assets-dir": self.assets_dir,
            **self.limits.options(),
        }
        # --option=value, since a value may start with a dash.
        return [
            *(f"{option}={value}" for option, value in options.items() if value is not None),
            *(f"--property={setting}" for setting in self.limits.properties),
            *(f"--allow-host={host}" for host in self.allow_hosts),
            *(f"--allow-origin={origin}" for origin in self.allow_origins),
            *(f"--allow-user={user}" for user in self.allow_users),
            *["--managed"] * self.managed,
            *["--token"] * self.token,
        ]

    def server_command(self) -> list[str]:
        """Return the command line of this runtime's server.

        It runs this very interpreter, deaf to PYTHONPATH and its kin (-E), and names the server by its path: ``-m``
        would import whatever lies in the working directory.
        """
        server = Path(__file__).resolve().parent.parent / "server"
        return [sys.executable, "-E", str(server), *self.arguments()]

    @classmethod
    def from_arguments(cls, arguments: Sequence[str]) -> tuple["RuntimeSpec", "Inherited"]:
        """Parse the server's command line; return the spec, and what its starter has left open for it.

        Raises:
            ValueError: these are no arguments of a server.
        """
        import argparse

        class Parser(argparse.ArgumentParser):
            def error(self, message: str) -> NoReturn:
                raise ValueError(message)

        parser = Parser(prog="mrmd-python-server", allow_abbrev=False)
        for required in ("--id", "--venv", "--python", "--venv-source", "--cwd", "--host", "--backend"):
            parser.add_argument(required, required=True)
        for required in ("--port", "--idle-seconds", "--start-seconds"):
            parser.add_argument(required, type=int, required=True)
        for optional in ("--assets-dir", "--memory-max", "--memory-high", "--cpu-quota", "--tasks-max"):
            parser.add_argument(optional)
        parser.add_argument("--nice", type=int)
        parser.add_argument("--property", action="append", default=[], dest="properties")
        parser.add_argument("--allow-host", action="append", default=[], dest="allow_hosts")
        parser.add_argument("--allow-origin", action="append", default=[], dest="allow_origins")
        parser.add_argument("--allow-user", action="append", default=[], dest="allow_users", type=int)
        parser.add_argument("--managed", action="store_true")
        parser.add_argument("--token", action="store_true")
        parser.add_argument("--ready-fd", type=int)
        parser.add_argument("--claim-fd", type=int)
        options = vars(parser.parse_args(arguments))
        inherited = Inherited(ready=options.pop("ready_fd"), claim=options.pop("claim_fd"))
        limits = Limits(
            **{name: options.pop(name) for name in ("memory_max", "memory_high", "cpu_quota", "tasks_max", "nice")},
            properties=tuple(options.pop("properties")),
        )
        for name in ("allow_hosts", "allow_origins", "allow_users"):
            options[name] = tuple(options[name])
        return cls(limits=limits, **options), inherited
