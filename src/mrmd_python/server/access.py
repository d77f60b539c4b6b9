"""Who may speak to the port, which is code execution as its user."""

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
    """The page that a request is of."""

    origin: str
    is_editor: bool


@dataclass(frozen=True)
class Access:
    """The rules of one server. Every rule lets this user's own programs and editors on this machine pass."""

    hosts: frozenset[str] = frozenset()
    """Names, besides those of loopback, that a request may have in its Host header."""
    origins: frozenset[str] = frozenset()
    """Origins, besides those of editors, whose pages may send requests."""
    users: frozenset[int] = frozenset()
    """The uids of local users, besides root and our own, who may connect."""
    token: str | None = field(default=None, repr=False)
    """What every request must show, if there is one."""
    any_address: bool = False
    """Whether the Host may be any address, as on a server that listens on all of them. A name can be rebound, an
    address cannot."""

    def check_peer(self, connection: Connection | None) -> None:
        """Let a connection pass that is this user's or root's; one that is not TCP is for its file's mode to guard.

        Raises:
            RefusedError: it is another user's, or comes from another machine and there is no token.
        """
        if connection is None:
            return
        if not connection.is_local:
            if self.token is None:
                raise RefusedError(403, "peer_refused", "only a client that is on this machine needs no token")
            return
        if not can_tell():
            return
        uid = connection.client_uid()
        if uid is None:
            raise RefusedError(403, "peer_refused", "whose this connection is cannot be told: its client has closed it")
        if uid not in {0, os.geteuid(), *self.users}:
            raise RefusedError(
                403, "peer_refused", f"this runtime is another user's; its owner may start it with --allow-user {uid}"
            )

    def check(self, headers: Mapping[str, str]) -> None:
        """Let a request pass that no foreign page can have sent.

        A foreign page reaches a loopback port in two ways: under a name of its own that it rebinds to 127.0.0.1, which
        the Host header gives away, or as a cross-site request, which gives itself away by Origin (RFC 6454, section 7)
        or, where that is not sent, by Sec-Fetch-Site (https://www.w3.org/TR/fetch-metadata/).

        Args:
            headers: of the request, by lower-case name.

        Raises:
            RefusedError: it may not.
        """
        named = headers.get("host", "")
        match = _HOST.fullmatch(named)
        if match is None or not self._is_own(match[1].lower()):
            raise RefusedError(403, "host_refused", f"the Host {named!r} is not this runtime's; see --allow-host")
        sender = self._sender(headers)
        if sender is not None and not sender.is_editor:
            why = "is an editor's only under Electron" if sender.origin == "null" else "may not use this runtime"
            raise RefusedError(403, "origin_refused", f"the Origin {sender.origin!r} {why}; see --allow-origin")

    def check_token(self, headers: Mapping[str, str]) -> None:
        """Let a request pass that shows the token, if there is one (RFC 6750, sections 2.1 and 3).

        Raises:
            RefusedError: it does not.
        """
        if self.token is None:
            return
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        challenge = 'Bearer realm="mrmd-python"'
        if scheme.lower() != "bearer":
            raise RefusedError(
                401,
                "token_required",
                "this runtime wants its token: 'Authorization: Bearer TOKEN'; `mrmd-python --info ID` says where it is",
                {"WWW-Authenticate": challenge},
            )
        if not hmac.compare_digest(shown.strip().encode("utf-8", "replace"), self.token.encode()):
            raise RefusedError(
                401,
                "token_wrong",
                "that is not this runtime's token; `mrmd-python --info ID` says where it is",
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
        """Return the page that a request gives as its sender; None for what is no page, or one of this machine's."""
        origin = headers.get("origin")
        if origin is None:
            if headers.get("sec-fetch-site") != "cross-site":
                return None
            # <img>, <script> and links tell no Origin. A page can keep its Referer back, but not choose it.
            match = _ORIGIN.match(headers.get("referer", ""))
            origin = match[0] if match else "null"
        if origin == f"http://{headers.get('host')}":
            return None  # the page that this server itself has shown
        if origin == "null":
            return _Sender(origin, "Electron/" in headers.get("user-agent", ""))
        match = _ORIGIN.fullmatch(origin)
        if match is None:
            return _Sender(origin, False)
        is_local = _LOOPBACK.fullmatch(match[2] or "") is not None
        return _Sender(origin, match[1] in _EDITOR_SCHEMES or is_local or origin in self.origins)
