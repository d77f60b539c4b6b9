"""The text of systemd units: the full unit of a runtime, and the template unit for other ids."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from mrmd_python.manager.backends.base import template
from mrmd_python.runtime import ServiceError
from mrmd_python.runtime.files import Home
from mrmd_python.runtime.spec import RuntimeSpec, server_command, stop_seconds
from mrmd_python.runtime.validate import is_loopback
from mrmd_python.runtime.venv import own_python

UNIT_PREFIX = "mrmd-python@"
UNIT_SUFFIX = ".service"
TEMPLATE = f"{UNIT_PREFIX}{UNIT_SUFFIX}"
# The unit properties for the limits of a spec.
LIMITS = {
    "memory_max": "MemoryMax",
    "memory_high": "MemoryHigh",
    "cpu_quota": "CPUQuota",
    "tasks_max": "TasksMax",
    "nice": "Nice",
}

# systemd.unit(5): letters, digits and ":-_.\" make a unit name, and an instance may contain "@" too.
_NOT_IN_A_UNIT_NAME = re.compile(r"[^A-Za-z0-9:_.@-]")
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")
_UNIT_NAME_MAX = 255  # UNIT_NAME_MAX of systemd's unit-name.h, less the final NUL
# How much longer than the server's own start timeout systemd waits, so that the server can report the reason.
_START_MARGIN_SECONDS = 10
# Where man(1) finds the manual from any shell; it finds that of a venv only from a shell with the venv on its PATH.
_MANUALS = [
    f"{prefix}/share/man/man1/mrmd-python.1{compression}"
    for prefix in ("/usr", "/usr/local")
    for compression in ("", ".gz", ".bz2", ".xz", ".zst")
]
# The user manager starts what is enabled before some directories are mounted and networks are up. RequiresMountsFor=
# knows only mounts that exist or that this manager itself mounts, and there is no network-online.target for its units.
_WAIT = (
    "n=0; for each; do until {test} || [ $n = 60 ]; do case $(systemctl --user is-system-running) in "
    "initializing|starting) sleep 1; n=$((n + 1));; *) exit 0;; esac; done; done"
)
_EXISTS = _WAIT.format(test='[ -e "$each" ]')
_BIND = (
    "import socket, sys; [socket.socket(found[0]).bind(found[4]) for found in "
    "socket.getaddrinfo(sys.argv[1], 0, type=socket.SOCK_STREAM)]"
)
_IS_ADDRESS = _WAIT.format(test=f'"$0" -I -S -c "{_BIND}" "$each" 2>/dev/null')


def unit_name(runtime_id: str) -> str:
    r"""Return the systemd unit of a runtime: ``a+b`` becomes ``mrmd-python@a\x2bb.service``.

    Raises:
        ServiceError: escaped, the id is longer than a unit name may be.
    """
    instance = _NOT_IN_A_UNIT_NAME.sub(lambda match: f"\\x{ord(match[0]):02x}", runtime_id)
    name = f"{UNIT_PREFIX}{instance}{UNIT_SUFFIX}"
    if len(name) > _UNIT_NAME_MAX:
        raise ServiceError(
            f"the systemd unit name for the id {runtime_id!r} would have {len(name)} characters, and the limit is "
            f"{_UNIT_NAME_MAX}: use a shorter id or fewer '+'"
        )
    return name


def id_of_unit(unit: str) -> str:
    """Return the runtime id of a unit name: the inverse of `unit_name`."""
    instance = unit.removeprefix(UNIT_PREFIX).removesuffix(UNIT_SUFFIX)
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), instance)


def render(home: Home, spec: RuntimeSpec, unset: Iterable[str]) -> str:
    """Return the unit of a runtime; `unset` has the names of the manager's variables to unset.

    Raises:
        ServiceError: systemd cannot express these paths.
    """
    names = " ".join(sorted(unset))
    limits = [f"{key}={getattr(spec, name)}" for name, key in LIMITS.items() if name in spec.limits()]
    limits += spec.properties
    return _fill(
        {
            "Description": [f"Description=mrmd-python runtime {spec.id.replace('%', '%%')}"],
            "ExecStart": [
                "# The environment that the runtime was started with, without other variables of this manager.",
                f"EnvironmentFile={_environment_file(home.environment(spec.id))}",
                *([f"UnsetEnvironment={names}"] if names else []),
                *([f"UMask={spec.umask}"] if spec.umask is not None else []),
                *_wait_for_network(spec),
                *_exec_start(spec.server_command(), spec.python, spec.cwd),
            ],
            "TimeoutStartSec": [f"TimeoutStartSec={spec.timeout + _START_MARGIN_SECONDS}s"],
            "TimeoutStopSec": [f"TimeoutStopSec={stop_seconds(spec.stop_timeout)}s"],
            "OOMPolicy": ["OOMPolicy=continue", *(["", "# Limits.", *limits] if limits else [])],
        }
    )


def render_template() -> str:
    """Return the template unit: it starts any id, with the defaults of this installation."""
    *wait, start = _exec_start(server_command([]))
    return _fill({"ExecStart": [*wait, f"{start} --backend=systemd --id=%i"]})


def _fill(lines: Mapping[str, list[str]]) -> str:
    """Return the unit from the source tree, with the lines of some keys replaced."""
    unit = template("units", TEMPLATE)
    if not any(map(os.path.exists, _MANUALS)):
        lines = {**lines, "Documentation": []}
    keys = "|".join(map(re.escape, lines))
    filled = {key: "".join(f"{line}\n" for line in lines[key]) for key in lines}
    return re.sub(rf"^({keys})=.*\n", lambda match: filled[match[1]], unit, flags=re.MULTILINE)


def _exec_start(command: list[str], *paths: str) -> list[str]:
    """Return the lines that start a server, once its interpreter and the other `paths` are there."""
    wait = ["/bin/sh", "-c", _EXISTS, "sh", command[0], *paths]
    return [
        "# At boot, wait up to a minute for these to be mounted.",
        f"ExecStartPre={' '.join(map(_quote_argument, wait))}",
        f"ExecStart={_command_line(command)}",
    ]


def _wait_for_network(spec: RuntimeSpec) -> list[str]:
    """Return the lines that wait at boot until this machine has the address to listen on."""
    if is_loopback(spec.host):
        return []
    wait = ["/bin/sh", "-c", _IS_ADDRESS, own_python(), spec.host]
    return [
        "# At boot, wait up to a minute for this to be an address of this machine.",
        f"ExecStartPre={' '.join(map(_quote_argument, wait))}",
    ]


def _command_line(command: list[str]) -> str:
    program, first = [_quote(command[0])], command[1:4]
    if re.search(r"[\"'$\\]", command[0]):  # systemd cannot run a program with such a name
        program, first = ["/bin/sh", "-c", _quote_argument('exec "$0" "$@"')], command[:4]
    return " \\\n    ".join([" ".join([*program, *map(_quote_argument, first)]), *map(_quote_argument, command[4:])])


def _quote(word: str) -> str:
    r"""Return `word` as one word of ExecStart= (systemd.service(5), "Command lines"; systemd.syntax(7), "Quoting").

    Specifiers are escaped; variables, which are not expanded in the program's path, are not.
    """
    word = word.replace("%", "%%")
    if re.fullmatch(r"[A-Za-z0-9_@%+=:,./$-]+", word):
        return word
    escaped = re.sub(r'[\x00-\x1f\x7f"\\]', lambda match: f"\\x{ord(match[0]):02x}", word)
    return f'"{escaped}"'


def _quote_argument(word: str) -> str:
    """Return `word` as an argument in ExecStart=, where variables are expanded, unlike in the program's path."""
    return _quote(word.replace("$", "$$"))


def environment_path(text: str, runtime_id: str) -> Path | None:
    """Return the file with the environment of a runtime that its unit, as written by `render`, reads; None if none."""
    for line in re.findall(r"^EnvironmentFile=(.*)$", text, re.MULTILINE):
        path = Path(re.sub(r"\\(.)", r"\1", line.replace("%%", "%")))
        if path.parts[-2:] == ("env", f"{runtime_id}.env"):
            return path
    return None


def _environment_file(path: Path) -> str:
    """Return a path for EnvironmentFile=, which reads the rest of the line unquoted and as a glob(7) pattern."""
    text = str(path)
    if re.search(r"[\x00-\x1f]|\\$|^\s|\s$", text):
        raise ServiceError(f"systemd cannot read a file named {text!r}: set MRMD_HOME to a directory with a plain name")
    return re.sub(r"([*?\[\\])", r"\\\1", text).replace("%", "%%")
