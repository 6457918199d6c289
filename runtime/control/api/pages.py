"""The dashboard's files, as they are in the package; nothing of a run is in them."""

from functools import cache
from importlib.resources import files

from starlette.exceptions import HTTPException
from starlette.responses import Response

TYPES = {"html": "text/html; charset=utf-8", "css": "text/css", "js": "text/javascript"}
ASSETS = (
    "uplot/uPlot.min.css",
    "uplot/uPlot.iife.min.js",
    "dashboard/dashboard.css",
    "dashboard/dashboard.js",
)
HEADERS = {
    # uPlot and the timeline place their parts by style attributes.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@cache
def _read(path: str) -> bytes:
    return files("runtime").joinpath("assets", *path.split("/")).read_bytes()


def page() -> Response:
    """Return the dashboard."""
    return Response(_read("dashboard/index.html"), headers=HEADERS, media_type=TYPES["html"])


def asset(path: str) -> Response:
    """Return one of its files, by a name that is on the list.

    Raises:
        HTTPException: there is none.
    """
    if path not in ASSETS:
        raise HTTPException(404, "there is no such file")
    return Response(_read(path), headers=HEADERS, media_type=TYPES[path.rpartition(".")[2]])
