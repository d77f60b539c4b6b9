"""Who may use the port. Anyone who may can run code as this user."""

import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from mrmd_python.server.api.error import RefusedError
from mrmd_python.server.peer import CannotTellError, Connection, can_identify_users

_NAME = r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]"
_HOST = re.compile(rf"({_NAME})(?::[0-9]{{1,5}})?")
_ORIGIN = re.compile(rf"([a-z][a-z0-9+.-]*)://({_NAME})?(?::[0-9]{{1,5}})?")
# The origin that a URL begins with. Before any other character, it would be only the beginning of an origin.
_REFERER = re.compile(rf"({_ORIGIN.pattern})(?![^/?#])")
_LOOPBACK = re.compile(r"localhost|127(?:\.[0-9]{1,3}){3}|\[::1\]")
_ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[.*\]")
_EDITOR_SCHEMES = ("file", "vscode-webview")
# The policy of the documents that code displays (https://www.w3.org/TR/CSP3/). Their origin is `null`. Plots need
# scripts, and libraries from the web. But nothing is requested by http, which is what runtimes on loopback speak. And
# nothing is framed but what inherits this policy: a framed page of another site would have the origin `null` too.
_ASSET_POLICY = (
    "sandbox allow-scripts; default-src https: data: blob: 'unsafe-inline' 'unsafe-eval'; frame-src data: blob:; "
    "object-src 'none'; form-action 'none'; frame-ancestors"
)
# Who may frame them: editors, and the window around a webview of VS Code.
_EDITOR_ANCESTORS = (
    "'self'",
    *(f"{scheme}://{host}:*" for scheme in ("http", "https") for host in ("localhost", "127.0.0.1")),
    *("file:", "vscode-webview:", "vscode-file:"),
)
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, DELETE",
    "Access-Control-Allow-Headers": "content-type, authorization, last-event-id",
    "Access-Control-Max-Age": "600",
}


class _Page(NamedTuple):
    """The web page that sent a request."""

    origin: str
    is_allowed: bool


@dataclass(frozen=True)
class Access:
    """The access rules of one server. This user's own programs and editors on this machine always have access."""

    # Names accepted in the Host header, besides those of loopback.
    hosts: frozenset[str] = frozenset()
    # Origins whose pages may send requests, besides editors.
    origins: frozenset[str] = frozenset()
    # The uids of local users who may connect, besides root and our own.
    users: frozenset[int] = frozenset()
    # The token that every request must send, if any.
    token: str | None = field(default=None, repr=False)
    # Whether the Host header may be any IP address, as on a server that listens on all addresses. This is safe: DNS
    # rebinding needs a name.
    any_address: bool = False

    def check_peer(self, connection: Connection | None) -> None:
        """Check who opened a connection: this user, root and `users` may and, if there is a token, other machines.

        None stands for a connection that is not TCP: the mode of its socket file protects it.

        Raises:
            RefusedError: another user opened it, or it comes from another machine and there is no token, or who opened
                it cannot be found out.
        """
        if connection is None:
            return
        if not connection.is_local:
            if self.token is None:
                raise RefusedError(
                    403, "peer_refused", "only a runtime with a token accepts clients from other machines"
                )
            return
        if not can_identify_users():
            return
        try:
            uid = connection.client_uid()
        except CannotTellError as error:
            raise RefusedError(
                503, "peer_unknown", f"cannot determine now which user opened this connection: {error}; try again"
            ) from None
        if uid is None:
            raise RefusedError(
                403, "peer_refused", "cannot determine which user opened this connection: the client closed it"
            )
        if uid not in {0, os.geteuid(), *self.users}:
            raise RefusedError(
                403, "peer_refused", f"this runtime belongs to another user, who can allow you with --allow-user {uid}"
            )

    def check_headers(self, headers: Mapping[str, str]) -> None:
        """Refuse a request that a web page from elsewhere may have sent.

        Such a page can reach a loopback port in two ways. With its own name rebound to 127.0.0.1, which shows in the
        Host header. Or with a cross-site request, which shows in Origin (RFC 6454, section 7) or, for requests without
        Origin, in Sec-Fetch-Site (https://www.w3.org/TR/fetch-metadata/).

        Args:
            headers: the headers of the request, by lower-case name.

        Raises:
            RefusedError: the Host or the page's origin is not allowed.
        """
        host = headers.get("host", "")
        match = _HOST.fullmatch(host)
        if match is None or not self._is_allowed_host(match[1].lower()):
            raise RefusedError(403, "host_refused", f"the Host {host!r} is not allowed; see --allow-host")
        page = self._page(headers)
        if page is not None and not page.is_allowed:
            problem = "is allowed only for Electron" if page.origin == "null" else "is not allowed"
            raise RefusedError(403, "origin_refused", f"the Origin {page.origin!r} {problem}; see --allow-origin")

    def check_token(self, headers: Mapping[str, str]) -> None:
        """Refuse a request without the token, if the runtime has one (RFC 6750, sections 2.1 and 3).

        Raises:
            RefusedError: the token is missing or wrong.
        """
        if self.token is None:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        challenge = 'Bearer realm="mrmd-python"'
        if scheme.lower() != "bearer":
            raise RefusedError(
                401,
                "token_required",
                "a token is required: send 'Authorization: Bearer TOKEN'; `mrmd-python --info ID` shows where it is",
                {"WWW-Authenticate": challenge},
            )
        if not hmac.compare_digest(given.strip().encode("utf-8", "replace"), self.token.encode()):
            raise RefusedError(
                401,
                "token_wrong",
                "wrong token; `mrmd-python --info ID` shows where the right one is",
                {"WWW-Authenticate": f'{challenge}, error="invalid_token"'},
            )

    def response_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of every response: whether the page that sent the request may embed and read it.

        https://fetch.spec.whatwg.org/#cross-origin-resource-policy-header
        """
        page = self._page(headers)
        is_allowed = page is not None and page.is_allowed
        found = {
            "Vary": "Origin",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "cross-origin" if is_allowed else "same-site",
        }
        if page is not None and is_allowed and "origin" in headers:
            found["Access-Control-Allow-Origin"] = page.origin
        return found

    @property
    def asset_policy(self) -> str:
        """The Content-Security-Policy of assets: a script in one runs without an origin and never reaches loopback."""
        return " ".join((_ASSET_POLICY, *_EDITOR_ANCESTORS, *sorted(self.origins)))

    def preflight_headers(self, method: str, headers: Mapping[str, str]) -> dict[str, str] | None:
        """Return the headers of the response to a CORS preflight, or None if the request is not a preflight.

        https://fetch.spec.whatwg.org/#cors-preflight-fetch, https://wicg.github.io/private-network-access/
        """
        if method != "OPTIONS" or "origin" not in headers or "access-control-request-method" not in headers:
            return None
        private = headers.get("access-control-request-private-network") == "true"
        return _PREFLIGHT | ({"Access-Control-Allow-Private-Network": "true"} if private else {})

    def _is_allowed_host(self, host: str) -> bool:
        is_address = self.any_address and _ADDRESS.fullmatch(host)
        return bool(_LOOPBACK.fullmatch(host) or host in self.hosts or is_address)

    def _page(self, headers: Mapping[str, str]) -> _Page | None:
        """Return the page that sent a request, or None if a program or this server's own page sent it."""
        origin = headers.get("origin")
        if origin is None:
            if headers.get("sec-fetch-site") != "cross-site":
                return None
            # <img>, <script> and links send no Origin. A page can suppress its Referer, but not forge it.
            match = _REFERER.match(headers.get("referer", ""))
            origin = match[1] if match else "null"
        if origin == f"http://{headers.get('host')}":
            return None  # the server's own page
        if origin == "null":
            # An editor's page is a file, which has no Referer: a page that has one is a document in a sandbox.
            return _Page(origin, "Electron/" in headers.get("user-agent", "") and "referer" not in headers)
        match = _ORIGIN.fullmatch(origin)
        if match is None:
            return _Page(origin, False)
        is_local = _LOOPBACK.fullmatch(match[2] or "") is not None
        return _Page(origin, match[1] in _EDITOR_SCHEMES or is_local or origin in self.origins)
