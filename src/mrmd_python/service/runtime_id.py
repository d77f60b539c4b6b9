"""Runtime ids, and the names that systemd and launchd know them by."""

import re

from mrmd_python.service.errors import ServiceError

UNIT_PREFIX = "mrmd-python@"
UNIT_SUFFIX = ".service"
TEMPLATE = f"{UNIT_PREFIX}{UNIT_SUFFIX}"
LAUNCHD_PREFIX = "dev.mrmd.python."

_ID = re.compile(r"[A-Za-z0-9_:@+][A-Za-z0-9._:@+-]{0,127}")
# systemd.unit(5): letters, digits and ":-_.\" make a unit name, and an instance may hold "@" too.
_NOT_IN_A_UNIT_NAME = re.compile(r"[^A-Za-z0-9:_.@-]")
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")
_UNIT_NAME_MAX = 255  # UNIT_NAME_MAX of systemd's unit-name.h, less the final NUL


def is_id(text: str) -> bool:
    """Return whether `text` is a runtime id."""
    return _ID.fullmatch(text) is not None


def parse_id(text: str) -> str:
    """Return `text` if it is a runtime id.

    Raises:
        ValueError: it is not one; the message says what an id is.
    """
    if not is_id(text):
        raise ValueError(
            f"{text!r} is not a runtime id: 1 to 128 letters, digits and . _ : @ + - are, not starting with . or -"
        )
    return text


def unit_name(runtime_id: str) -> str:
    r"""Return the systemd unit of a runtime: ``a+b`` becomes ``mrmd-python@a\x2bb.service``.

    Raises:
        ServiceError: escaped, the id is longer than a unit name may be.
    """
    instance = _NOT_IN_A_UNIT_NAME.sub(lambda match: f"\\x{ord(match[0]):02x}", runtime_id)
    name = f"{UNIT_PREFIX}{instance}{UNIT_SUFFIX}"
    if len(name) > _UNIT_NAME_MAX:
        raise ServiceError(
            f"the id {runtime_id!r} makes a systemd unit name of {len(name)} characters, and {_UNIT_NAME_MAX} are "
            "allowed: use a shorter id or fewer '+'"
        )
    return name


def id_of_unit(unit: str) -> str:
    """Return the runtime id that a unit name stands for: the inverse of `unit_name`."""
    instance = unit.removeprefix(UNIT_PREFIX).removesuffix(UNIT_SUFFIX)
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), instance)


def launchd_label(runtime_id: str) -> str:
    """Return the launchd label of a runtime (launchd.plist(5), Label)."""
    return f"{LAUNCHD_PREFIX}{runtime_id}"
