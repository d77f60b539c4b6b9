"""MRP beside the pages of an aiohttp program: python embed_aiohttp.py 8765.

Its sessions are processes of this program's and end with it.
"""

import sys

from aiohttp import web

from mrmd_python import create_app


async def page(request: web.Request) -> web.Response:
    """Answer with a page of the program's own."""
    return web.Response(text="MRP is at /mrp/v1\n")


def application() -> web.Application:
    """Return the program, MRP and all."""
    app = web.Application()
    app.router.add_get("/", page)
    app.add_subapp("/mrp/v1", create_app(daemon_mode=True).aiohttp())
    return app


if __name__ == "__main__":
    web.run_app(application(), host="localhost", port=int(sys.argv[1]))
