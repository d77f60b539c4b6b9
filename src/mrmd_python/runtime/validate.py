"""Checks of values that a user types: runtime ids, hosts, origins and users. Each raises ValueError with the reason."""

import re

_ID = re.compile(r"[A-Za-z0-9_:@+][A-Za-z0-9._:@+-]{0,127}")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[?[0-9A-Fa-f]*:[0-9A-Fa-f:.]+\]?")
_LOOPBACK = re.compile(r"localhost|127(?:\.[0-9]{1,3}){3}|::1")
_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


def is_id(text: str) -> bool:
    """Return whether `text` is a valid runtime id."""
    return _ID.fullmatch(text) is not None


def parse_id(text: str) -> str:
    """Return `text` if it is a valid runtime id."""
    if not is_id(text):
        raise ValueError(f"invalid id {text!r}: use 1-128 letters, digits or . _ : @ + -, not starting with . or -")
    return text


def is_loopback(host: str) -> bool:
    """Return whether `host` names only this machine's loopback interface."""
    return _LOOPBACK.fullmatch(host) is not None


def parse_host(text: str) -> str:
    """Return a host as the Host header spells it, without a port: lower case, IPv6 in brackets."""
    if not _HOST.fullmatch(text):
        raise ValueError(f"invalid host {text!r}: use a name or an address, without scheme, port or path")
    host = text.strip("[]").lower()
    return f"[{host}]" if ":" in host else host


def parse_origin(text: str) -> str:
    """Return an origin as the Origin header spells it (RFC 6454, section 6.2).

    ``null`` is refused: any page can make its origin null.
    """
    if not _ORIGIN.fullmatch(text):
        raise ValueError(f"invalid origin {text!r}: use a form like https://editor.example, with a :port if needed")
    return text.lower()


def parse_user(text: str) -> int:
    """Return the uid of a local user, given as uid or login name."""
    import pwd

    if re.fullmatch(r"[0-9]{1,10}", text):
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except (KeyError, ValueError):
        raise ValueError(f"there is no user {text!r} on this machine") from None
