"""The files of displays."""

from aiohttp import web

from mrmd_python.server.api.error import RefusedError
from mrmd_python.server.api.route import ACCESS, FILE, SESSIONS, Route
from mrmd_python.server.assets import content_type


async def get_asset(request: web.Request) -> web.StreamResponse:
    """GET /assets/{name}."""
    name = request.match_info["name"]
    path = await request.app[SESSIONS].assets.find(name)
    if path is None:
        raise RefusedError(404, "unknown_asset", f"there is no asset {name!r}")
    headers = {
        "Content-Type": content_type(path),
        "Cache-Control": "no-cache",  # an update of the display may replace it
        "Content-Security-Policy": request.app[ACCESS].asset_policy,
    }
    return web.FileResponse(path, headers=headers)


ROUTES = [Route("GET", "/assets/{name}", get_asset, FILE)]
