"""Who may use the port: it gives code execution as its user."""

import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from mrmd_python.server.api.error import RefusedError
from mrmd_python.server.peer import Connection, can_tell

_NAME = r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]"
_HOST = re.compile(rf"({_NAME})(?::[0-9]{{1,5}})?")
_ORIGIN = re.compile(rf"([a-z][a-z0-9+.-]*)://({_NAME})?(?::[0-9]{{1,5}})?")
_LOOPBACK = re.compile(r"localhost|127(?:\.[0-9]{1,3}){3}|\[::1\]")
_ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[.*\]")
_EDITOR_SCHEMES = ("file", "vscode-webview")
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, DELETE",
    "Access-Control-Allow-Headers": "content-type, authorization, last-event-id",
    "Access-Control-Max-Age": "600",
}


class _Sender(NamedTuple):
    """The page that sent a request."""

    origin: str
    is_editor: bool


@dataclass(frozen=True)
class Access:
    """The rules of one server. All of them accept this user's own programs and editors on this machine."""

    # Names that a request may have in its Host header, besides those of loopback.
    hosts: frozenset[str] = frozenset()
    # Origins whose pages may send requests, besides those of editors.
    origins: frozenset[str] = frozenset()
    # The uids of local users who may connect, besides root and our own.
    users: frozenset[int] = frozenset()
    # The token that every request must have, if there is one.
    token: str | None = field(default=None, repr=False)
    # Whether the Host may be any address, as on a server that listens on all of them. A page can rebind a name, but
    # not an address.
    any_address: bool = False

    def check_peer(self, connection: Connection | None) -> None:
        """Accept a connection of this user or root; one that is not TCP is protected by the mode of its file.

        Raises:
            RefusedError: it belongs to another user, or comes from another machine and there is no token.
        """
        if connection is None:
            return
        if not connection.is_local:
            if self.token is None:
                raise RefusedError(
                    403, "peer_refused", "a client on another machine can connect only to a runtime with a token"
                )
            return
        if not can_tell():
            return
        uid = connection.client_uid()
        if uid is None:
            raise RefusedError(403, "peer_refused", "cannot determine who opened this connection: it is closed")
        if uid not in {0, os.geteuid(), *self.users}:
            raise RefusedError(
                403, "peer_refused", f"this runtime belongs to another user, who can start it with --allow-user {uid}"
            )

    def check(self, headers: Mapping[str, str]) -> None:
        """Refuse a request that a foreign page may have sent.

        A foreign page can reach a loopback port in two ways: under its own name, rebound to 127.0.0.1, which shows in
        the Host header, or by a cross-site request, which shows in Origin (RFC 6454, section 7) or, where that is not
        sent, in Sec-Fetch-Site (https://www.w3.org/TR/fetch-metadata/).

        Args:
            headers: of the request, by lower-case name.

        Raises:
            RefusedError: so it is.
        """
        named = headers.get("host", "")
        match = _HOST.fullmatch(named)
        if match is None or not self._is_own(match[1].lower()):
            raise RefusedError(403, "host_refused", f"the Host {named!r} is not accepted; see --allow-host")
        sender = self._sender(headers)
        if sender is not None and not sender.is_editor:
            why = "is accepted only from Electron" if sender.origin == "null" else "is not accepted"
            raise RefusedError(403, "origin_refused", f"the Origin {sender.origin!r} {why}; see --allow-origin")

    def check_token(self, headers: Mapping[str, str]) -> None:
        """Refuse a request without the token, if there is one (RFC 6750, sections 2.1 and 3).

        Raises:
            RefusedError: it has no token or another one.
        """
        if self.token is None:
            return
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        challenge = 'Bearer realm="mrmd-python"'
        if scheme.lower() != "bearer":
            raise RefusedError(
                401,
                "token_required",
                "a token is required: 'Authorization: Bearer TOKEN'; `mrmd-python --info ID` shows where it is",
                {"WWW-Authenticate": challenge},
            )
        if not hmac.compare_digest(shown.strip().encode("utf-8", "replace"), self.token.encode()):
            raise RefusedError(
                401,
                "token_wrong",
                "that is not this runtime's token; `mrmd-python --info ID` shows where it is",
                {"WWW-Authenticate": f'{challenge}, error="invalid_token"'},
            )

    def cors_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of every answer that say whether the page that sent the request may read it (CORS)."""
        sender = self._sender(headers)
        if "origin" not in headers or sender is None or not sender.is_editor:
            return {"Vary": "Origin"}
        return {"Vary": "Origin", "Access-Control-Allow-Origin": sender.origin}

    def preflight_headers(self, method: str, headers: Mapping[str, str]) -> dict[str, str] | None:
        """Return the headers that answer a browser's question whether it may send a request, None if it is none.

        https://fetch.spec.whatwg.org/#cors-preflight-fetch, https://wicg.github.io/private-network-access/
        """
        if method != "OPTIONS" or "origin" not in headers or "access-control-request-method" not in headers:
            return None
        private = headers.get("access-control-request-private-network") == "true"
        return _PREFLIGHT | ({"Access-Control-Allow-Private-Network": "true"} if private else {})

    def _is_own(self, host: str) -> bool:
        by_address = self.any_address and _ADDRESS.fullmatch(host)
        return bool(_LOOPBACK.fullmatch(host) or host in self.hosts or by_address)

    def _sender(self, headers: Mapping[str, str]) -> _Sender | None:
        """Return the page that a request names as its sender, or None if it is no page or this server's own."""
        origin = headers.get("origin")
        if origin is None:
            if headers.get("sec-fetch-site") != "cross-site":
                return None
            # <img>, <script> and links send no Origin. A page can suppress its Referer, but not choose it.
            match = _ORIGIN.match(headers.get("referer", ""))
            origin = match[0] if match else "null"
        if origin == f"http://{headers.get('host')}":
            return None  # the console that this server itself shows
        if origin == "null":
            return _Sender(origin, "Electron/" in headers.get("user-agent", ""))
        match = _ORIGIN.fullmatch(origin)
        if match is None:
            return _Sender(origin, False)
        is_local = _LOOPBACK.fullmatch(match[2] or "") is not None
        return _Sender(origin, match[1] in _EDITOR_SCHEMES or is_local or origin in self.origins)
