"""Who may speak to a runtime besides the user's own programs and editors, as a person names them."""

import re

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[?[0-9A-Fa-f]*:[0-9A-Fa-f:.]+\]?")
_LOOPBACK = re.compile(r"localhost|127(?:\.[0-9]{1,3}){3}|::1")
_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


def is_loopback(host: str) -> bool:
    """Return whether a host that was typed is this machine's loopback and nothing else."""
    return _LOOPBACK.fullmatch(host) is not None


def parse_host(text: str) -> str:
    """Return a host as the Host header has it, without its port: lower case, IPv6 in brackets.

    Raises:
        ValueError: it is none; the message says what one is.
    """
    if not _HOST.fullmatch(text):
        raise ValueError(f"{text!r} is not a host: a name or an address is, without scheme, port or path")
    host = text.strip("[]").lower()
    return f"[{host}]" if ":" in host else host


def parse_origin(text: str) -> str:
    """Return an origin as the Origin header has it (RFC 6454, section 6.2).

    Raises:
        ValueError: it is none; the message says what one is. ``null`` is none: any page can have itself called that.
    """
    if not _ORIGIN.fullmatch(text):
        raise ValueError(f"{text!r} is not an origin: https://editor.example is, with a :port where there is one")
    return text.lower()


def parse_user(text: str) -> int:
    """Return the uid of a local user, who is named by it or by the login name.

    Raises:
        ValueError: there is no such user.
    """
    import pwd

    if re.fullmatch(r"[0-9]{1,10}", text):
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except (KeyError, ValueError):
        raise ValueError(f"{text!r} is no user of this machine") from None
