"""The web page of a runtime, a console in the browser. It contains no secrets."""

import re
from base64 import b64encode
from html import escape
from pathlib import Path

from aiohttp import web

from mrmd_python.server.upgrade import upgrade

_SCRIPTS = ("runtime", "terminal", "output", "cells", "activity", "completion", "sessions", "variables", "page")


def page_response(runtime: str) -> web.Response:
    """Return the page of a runtime.

    Its Content-Security-Policy (https://www.w3.org/TR/CSP3/) allows only the page's own script and connections to the
    runtime, so output that the page displays can run nothing, except in a frame without an origin.
    """
    try:
        text = _read("page.html").replace("{{runtime}}", escape(runtime)).replace("{{style}}", _read("page.css"))
        text = text.replace("{{script}}", "\n".join(_read(f"{name}.js") for name in _SCRIPTS))
    except FileNotFoundError:
        return web.Response(status=503, text=f"There is no console: {upgrade() or 'its files are missing'}.\n")
    policy = (
        f"default-src 'none'; script-src {_csp_hash('script', text)}; style-src {_csp_hash('style', text)}; "
        "connect-src 'self'; img-src data:; frame-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": policy,
        "Cache-Control": "no-cache",
        "Referrer-Policy": "same-origin",
    }
    return web.Response(text=text, headers=headers)


def frame_response(policy: str) -> web.Response:
    """Return the document in which the page shows HTML that code displays, under the policy of assets."""
    try:
        text = _read("frame.html")
    except FileNotFoundError:
        return web.Response(status=503, text="Reload the page.\n")
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": policy,
        "Cache-Control": "no-cache",
    }
    return web.Response(text=text, headers=headers)


def _read(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _csp_hash(tag: str, page: str) -> str:
    """Return the CSP source that allows the content of the page's only `tag`."""
    from hashlib import sha256  # imports OpenSSL, which would slow down the start

    content = re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    assert content is not None
    return f"'sha256-{b64encode(sha256(content[1].encode()).digest()).decode()}'"
