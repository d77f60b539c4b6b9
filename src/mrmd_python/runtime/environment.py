"""The caller's environment, kept for a runtime that a service manager starts without it.

The file has the syntax of systemd.exec(5), EnvironmentFile=, which the unit names.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from mrmd_python.runtime import ServiceError
from mrmd_python.runtime.files import write_atomically
from mrmd_python.runtime.marker import VARIABLE as MARKER
from mrmd_python.runtime.token import VARIABLE as TOKEN

# What describes the caller's login session, terminal, shell or own service rather than the person's wishes.
_SESSION = frozenset(
    {"_", "COLORTERM", "COLUMNS", "GPG_TTY", "LINES", "OLDPWD", "PS1", "PWD", "SHLVL", "STY", "TERM", "TERMCAP"}
    | {"TERM_PROGRAM", "TERM_PROGRAM_VERSION", "TERM_SESSION_ID", "TMUX", "TMUX_PANE", "VTE_VERSION"}
    | {"WINDOWID", "WINDOWPATH", "XDG_SEAT", "XDG_SEAT_PATH", "XDG_SESSION_CLASS", "XDG_SESSION_ID"}
    | {"XDG_SESSION_PATH", "XDG_SESSION_TYPE", "XDG_VTNR", "__PYVENV_LAUNCHER__"}
    # macOS: the application that a terminal is, and its login session.
    | {"LaunchInstanceID", "SECURITYSESSIONID", "__CFBundleIdentifier"}
)
# What a service manager tells one service alone: systemd.exec(5), "Environment Variables Set or Propagated"; launchd.
SERVICE = frozenset(
    {"EXIT_CODE", "EXIT_STATUS", "FDSTORE", "INVOCATION_ID", "JOURNAL_STREAM", "LISTEN_FDNAMES", "LISTEN_FDS"}
    | {"LISTEN_PID", "LOG_NAMESPACE", "MAINPID", "MANAGERPID", "MANAGERPIDFDID", "MEMORY_PRESSURE_WATCH"}
    | {"MEMORY_PRESSURE_WRITE", "NOTIFY_SOCKET", "PIDFILE", "SERVICE_RESULT", "SYSTEMD_EXEC_PID", "TRIGGER_PATH"}
    | {"TRIGGER_UNIT", "WATCHDOG_PID", "WATCHDOG_USEC", "XPC_FLAGS", "XPC_SERVICE_NAME"}
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # what systemd and POSIX shells take as a variable's name
_LINE = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"\n', re.DOTALL)


def capture(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a runtime should have of its caller's environment.

    Left out: the caller's login session, the marker of a runtime the caller runs in, the token, names that no service
    manager takes, and values that systemd.exec(5) does not take as UTF-8.
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


def refuse_unfit(variables: Mapping[str, str]) -> None:
    """Complain of variables that were asked for by name and that no service could have.

    Raises:
        ServiceError: it names the first.
    """
    for name, value in variables.items():
        if not _NAME.fullmatch(name):
            raise ServiceError(f"{name!r} cannot be the name of a variable: letters, digits and _ are, no digit first")
        if name == TOKEN:
            raise ServiceError(f"{TOKEN} is read from this command's own environment: no session is to have it")
        if name == MARKER or name in SERVICE:
            raise ServiceError(f"the variable {name} is not to be chosen: the service manager or mrmd-python sets it")
        if not _is_unicode(value) or "\0" in value:
            raise ServiceError(f"the value of {name} is not Unicode text, as systemd needs it")


def _is_unicode(value: str) -> bool:
    """Return whether systemd takes a value: no lone surrogates, as which os.environ holds bytes, no noncharacters."""
    points = map(ord, value)
    return not any(
        0xD800 <= point <= 0xDFFF or 0xFDD0 <= point <= 0xFDEF or point & 0xFFFE == 0xFFFE for point in points
    )


def write(path: Path, environment: Mapping[str, str]) -> None:
    """Write an environment to `path`, for its owner alone: in double quotes, with a backslash before what needs one."""
    quoted = {name: re.sub(r'(["\\$`])', r"\\\1", value) for name, value in environment.items()}
    write_atomically(path, "".join(f'{name}="{value}"\n' for name, value in sorted(quoted.items())).encode())


def read(path: Path) -> dict[str, str]:
    """Return what `write` wrote to `path`; an empty dict if there is no such file."""
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        return {}
    return {name: re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL) for name, value in _LINE.findall(text)}
