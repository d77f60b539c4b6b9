"""The lower bound of a response over HTTP: aiohttp with a handler that does nothing. Prints its port."""

import asyncio

from aiohttp import web


async def _handle(request: web.Request) -> web.Response:
    await request.read()
    return web.json_response({"success": True})


async def _serve() -> None:
    app = web.Application()
    app.router.add_post("/mrp/v1/execute", _handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


asyncio.run(_serve())
