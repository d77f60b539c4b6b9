"""What a runtime is asked to be, on its way from the command line of the CLI to that of the server."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn

from mrmd_python.service.limits import Limits

VenvSource = Literal["option", "own", "VIRTUAL_ENV", "system"]
"""Who named an interpreter: --venv; mrmd-python, which is installed in it; the caller's environment; or nobody."""


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
