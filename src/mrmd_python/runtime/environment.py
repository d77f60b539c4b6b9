"""The environment of a runtime: captured from the caller into a file, because service managers have another one.

The file has the syntax of EnvironmentFile= in systemd.exec(5), and units refer to it.
"""

import errno
import re
from collections.abc import Mapping
from pathlib import Path

from mrmd_python.runtime import ServiceError
from mrmd_python.runtime.files import read_file, write_atomically
from mrmd_python.runtime.marker import VARIABLE as MARKER
from mrmd_python.runtime.token import VARIABLE as TOKEN

# Variables of the caller's login session, terminal or shell, which are of no use to a runtime.
_SESSION = frozenset(
    {"_", "COLORTERM", "COLUMNS", "GPG_TTY", "LINES", "OLDPWD", "PS1", "PWD", "SHLVL", "STY", "TERM", "TERMCAP"}
    | {"TERM_PROGRAM", "TERM_PROGRAM_VERSION", "TERM_SESSION_ID", "TMUX", "TMUX_PANE", "VTE_VERSION"}
    | {"WINDOWID", "WINDOWPATH", "XDG_SEAT", "XDG_SEAT_PATH", "XDG_SESSION_CLASS", "XDG_SESSION_ID"}
    | {"XDG_SESSION_PATH", "XDG_SESSION_TYPE", "XDG_VTNR", "__PYVENV_LAUNCHER__"}
    # macOS: the terminal application and its login session.
    | {"LaunchInstanceID", "SECURITYSESSIONID", "__CFBundleIdentifier"}
)
# Variables that a service manager sets for one service: systemd.exec(5), "Environment Variables Set or Propagated".
SERVICE = frozenset(
    {"EXIT_CODE", "EXIT_STATUS", "FDSTORE", "INVOCATION_ID", "JOURNAL_STREAM", "LISTEN_FDNAMES", "LISTEN_FDS"}
    | {"LISTEN_PID", "LOG_NAMESPACE", "MAINPID", "MANAGERPID", "MANAGERPIDFDID", "MEMORY_PRESSURE_WATCH"}
    | {"MEMORY_PRESSURE_WRITE", "NOTIFY_SOCKET", "PIDFILE", "SERVICE_RESULT", "SYSTEMD_EXEC_PID", "TRIGGER_PATH"}
    | {"TRIGGER_UNIT", "WATCHDOG_PID", "WATCHDOG_USEC", "XPC_FLAGS", "XPC_SERVICE_NAME"}
)
_LIBRARIES = frozenset({"LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # a variable's name in systemd and POSIX shells
_LINE = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"\n', re.DOTALL)


def capture(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the part of the caller's environment that a runtime gets.

    Excluded are variables of the caller's login session, the marker (the caller may itself run in a runtime), the
    token, names that service managers reject, and values that are not UTF-8 for systemd.exec(5).
    """
    return {
        name: value
        for name, value in environ.items()
        if name not in _SESSION
        and name not in SERVICE
        and not name.startswith("SSH_")
        and name not in (MARKER, TOKEN)
        and _NAME.fullmatch(name)
        and _is_unicode(value)
    }


def for_programs(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a program of the system, without the libraries of the user's environment (ld.so(8)).

    Those of a conda environment or of environment modules may be too old or too new for systemctl.
    """
    return {name: value for name, value in environ.items() if name not in _LIBRARIES}


def validate(variables: Mapping[str, str]) -> None:
    """Raise ServiceError for the first variable of --env that a service cannot have."""
    for name, value in variables.items():
        if not _NAME.fullmatch(name):
            raise ServiceError(f"invalid variable name {name!r}: use letters, digits and _, not starting with a digit")
        if name == TOKEN:
            raise ServiceError(f"{TOKEN} cannot be set by option: set it in the environment of this command")
        if name == MARKER or name in SERVICE:
            raise ServiceError(f"{name} is set by the service manager or mrmd-python and cannot be overridden")
        if not _is_unicode(value) or "\0" in value:
            raise ServiceError(f"the value of {name} is not valid Unicode, which systemd requires")


def _is_unicode(value: str) -> bool:
    """Return whether systemd accepts a value: no noncharacters, no lone surrogates (which stand for invalid bytes)."""
    points = map(ord, value)
    return not any(
        0xD800 <= point <= 0xDFFF or 0xFDD0 <= point <= 0xFDEF or point & 0xFFFE == 0xFFFE for point in points
    )


def write(path: Path, environment: Mapping[str, str]) -> None:
    """Write an environment to `path` with mode 0600, quoting values as systemd.exec(5) reads them."""
    quoted = {name: re.sub(r'(["\\$`])', r"\\\1", value) for name, value in environment.items()}
    write_atomically(path, "".join(f'{name}="{value}"\n' for name, value in sorted(quoted.items())).encode())


def read(path: Path) -> dict[str, str]:
    """Return the environment that `write` wrote to `path`, or an empty one if there is no file, or a link."""
    try:
        text = read_file(path).decode()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return {}
        raise
    return {name: re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL) for name, value in _LINE.findall(text)}
