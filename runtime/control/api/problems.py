"""Errors as application/problem+json (RFC 9457): a title, a status, one sentence."""

from http import HTTPStatus

import msgspec
from starlette.responses import Response

from runtime.redaction import KNOWN


def problem(status: int, detail: str) -> Response:
    """Return a response that says what is wrong."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    return Response(
        KNOWN.hide_bytes(msgspec.json.encode(body | {"detail": detail})),
        status,
        media_type="application/problem+json",
    )
