"""Who may speak to the port, which is code execution as its user."""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from mrmd_python.server.exchange import RefusedError

_LOOPBACK = re.compile(r"localhost|127(?:\.\d{1,3}){3}|::1")
_EDITOR_SCHEMES = ("file", "vscode-webview")


def check(headers: Mapping[str, str]) -> None:
    """Let a request pass that comes from this machine's own programs and pages.

    A foreign page reaches a loopback port in two ways: under a name of its own that it rebinds to 127.0.0.1, which the
    Host header gives away, or as a cross-origin request, which Origin gives away (RFC 6454, section 7).

    Args:
        headers: of the request, by lower-case name.

    Raises:
        RefusedError: the Host is not loopback, or the Origin is not one of an editor's.
    """
    _, host = _scheme_and_host(f"//{headers.get('host', '')}")
    if not _LOOPBACK.fullmatch(host):
        raise RefusedError(403, "host_refused", f"the Host {host!r} is not this machine's loopback")
    origin = headers.get("origin")
    if origin is None:
        return
    scheme, origin_host = _scheme_and_host(origin)
    if origin == "null":
        if "Electron/" not in headers.get("user-agent", ""):
            raise RefusedError(403, "origin_refused", "the Origin 'null' is an editor's only under Electron")
    elif scheme not in _EDITOR_SCHEMES and not _LOOPBACK.fullmatch(origin_host):
        raise RefusedError(403, "origin_refused", f"the Origin {origin!r} may not use this runtime")


def _scheme_and_host(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or ""
    except ValueError:
        return "", ""
