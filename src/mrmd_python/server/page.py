"""The page at a runtime's root: for a person who opens its URL in a browser. It holds nothing that is secret."""

import re
from base64 import b64encode
from html import escape
from pathlib import Path

from mrmd_python.server.wire import Response


def page_of(runtime: str) -> Response:
    """Return the page of the runtime with that id.

    Its policy (https://www.w3.org/TR/CSP3/) has the browser run the script that is in the file and no other, whatever
    it shows, and speak to nothing but the runtime.
    """
    text = Path(__file__).with_suffix(".html").read_text(encoding="utf-8").replace("{{runtime}}", escape(runtime))
    policy = (
        f"default-src 'none'; script-src {_hashed('script', text)}; style-src {_hashed('style', text)}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": policy,
        "Cache-Control": "no-cache",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(200, headers, text.encode())


def _hashed(tag: str, text: str) -> str:
    """Return what a policy allows the content of the one `tag` of a page by."""
    from hashlib import sha256  # OpenSSL, which a server's start need not wait for

    content = re.search(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    assert content is not None
    return f"'sha256-{b64encode(sha256(content[1].encode()).digest()).decode()}'"
