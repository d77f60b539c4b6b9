"""The text of units: a runtime's own, rendered in full, and the template for those that systemctl starts by name."""

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from mrmd_python.service import templates
from mrmd_python.service.errors import ServiceError
from mrmd_python.service.home import Home
from mrmd_python.service.runtime_id import TEMPLATE
from mrmd_python.service.spec import RuntimeSpec

_STOP_MARGIN_SECONDS = 10
"""What systemd gives a server that has run out of its own time to start, until it says so."""


def render(home: Home, spec: RuntimeSpec, unset: Iterable[str]) -> str:
    """Return the unit of a runtime, complete; `unset` names the manager's variables that it should not have.

    Raises:
        ServiceError: systemd can have no unit with these paths.
    """
    names = " ".join(sorted(unset))
    properties = list(spec.limits.unit_properties())
    return _filled(
        {
            "Description": [f"Description=mrmd-python runtime {spec.id.replace('%', '%%')}"],
            "ExecStart": [
                "# What the runtime was started with, and nothing that this manager has besides.",
                f"EnvironmentFile={_environment_file(home.environment(spec.id))}",
                *([f"UnsetEnvironment={names}"] if names else []),
                f"ExecStart={_command_line(replace(spec, backend='systemd').server_command())}",
            ],
            "TimeoutStartSec": [f"TimeoutStartSec={spec.start_seconds + _STOP_MARGIN_SECONDS}s"],
            "OOMPolicy": ["OOMPolicy=continue", *(["", "# What it may use.", *properties] if properties else [])],
        }
    )


def render_template() -> str:
    """Return the template unit: it starts any id, with the defaults of this installation."""
    command = [sys.executable, "-E", str(Path(__file__).resolve().parent.parent / "cli")]
    return _filled({"ExecStart": [f"ExecStart={_command_line(command)} --instance=%i"]})


def _filled(lines: Mapping[str, list[str]]) -> str:
    """Return the unit that is kept in the tree, with the lines of some keys replaced."""
    unit = templates.read("units", TEMPLATE)
    keys = "|".join(map(re.escape, lines))
    return re.sub(rf"^({keys})=.*$", lambda match: "\n".join(lines[match[1]]), unit, flags=re.MULTILINE)


def _command_line(command: list[str]) -> str:
    program, first = [quote(command[0])], command[1:3]
    if re.search(r"[\"'$\\]", command[0]):  # systemd runs no program of such a name
        program, first = ["/bin/sh", "-c", quote_argument('exec "$0" "$@"')], command[:3]
    return " \\\n    ".join([" ".join([*program, *map(quote_argument, first)]), *map(quote_argument, command[3:])])


def quote(word: str) -> str:
    r"""Return `word` as one word of ExecStart= (systemd.service(5), "Command lines"; systemd.syntax(7), "Quoting").

    Specifiers are kept from being expanded; variables are for `quote_argument` to see to.
    """
    word = word.replace("%", "%%")
    if re.fullmatch(r"[A-Za-z0-9_@%+=:,./$-]+", word):
        return word
    escaped = re.sub(r'[\x00-\x1f\x7f"\\]', lambda match: f"\\x{ord(match[0]):02x}", word)
    return f'"{escaped}"'


def quote_argument(word: str) -> str:
    """Return `word` as an argument in ExecStart=: unlike the program's path, that has variables expanded."""
    return quote(word.replace("$", "$$"))


def _environment_file(path: Path) -> str:
    """Return a path as EnvironmentFile= takes it: unquoted to the end of the line, and a glob(7) pattern."""
    text = str(path)
    if re.search(r"[\x00-\x1f]|\\$|^\s|\s$", text):
        raise ServiceError(f"systemd cannot read a file named {text!r}: set MRMD_HOME to a folder with a plain name")
    return re.sub(r"([*?\[\\])", r"\\\1", text).replace("%", "%%")
