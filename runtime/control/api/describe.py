"""The API as an OpenAPI document: one table says what each route takes and gives."""

from typing import Any, NamedTuple

OBJECT = {"type": "object"}
TEXT = {"type": "string"}


class Operation(NamedTuple):
    """What a route does; `body` are the names a JSON body may hold, `media` what comes back."""

    method: str
    path: str
    summary: str
    body: dict[str, Any] | None = None
    query: dict[str, Any] = {}
    media: str = "application/json"
    needs: tuple[str, ...] = ()


LOG_QUERY: dict[str, Any] = {
    "limit": {"type": "integer", "minimum": 0, "maximum": 1000},
    "level": {"type": "string", "enum": ["debug", "info", "warning", "error"]},
    "grep": TEXT,
    "since": {"type": "integer", "minimum": 0, "maximum": 10**18},
}
STREAM = "text/event-stream"
OPERATIONS = (
    Operation("get", "/healthz", "the run's loop turns"),
    Operation("get", "/readyz", "the feed is up, and models are ready or training is off"),
    Operation("get", "/metrics", "figures for Prometheus", media="text/plain"),
    Operation("get", "/openapi.json", "this document"),
    Operation("get", "/v1/status", "the run, its newest snapshot"),
    Operation("get", "/v1/stream", "each snapshot as it is taken", media=STREAM),
    Operation("get", "/v1/training", "jobs, quota, and what training did"),
    Operation("post", "/v1/training/on", "switch training on", {}),
    Operation("post", "/v1/training/off", "switch training off", {}),
    Operation("post", "/v1/training/now", "train every known method now", {}),
    Operation("post", "/v1/training/cancel", "cancel a job", {"job": TEXT}, needs=("job",)),
    Operation("get", "/v1/models", "slots: versions, readiness and its cause"),
    Operation(
        "post",
        "/v1/models/{slot}/rollback",
        "let an older version serve again; without `to` the one before",
        {"to": {"type": "integer", "format": "int64"}},
    ),
    Operation("get", "/v1/orders", "the newest orders"),
    Operation("get", "/v1/positions", "what is held"),
    Operation("get", "/v1/equity", "the account over time"),
    Operation("get", "/v1/prices", "prices of the first symbols, each second"),
    Operation("get", "/v1/logs", "the newest lines of the log", query=LOG_QUERY),
    Operation("get", "/v1/logs/stream", "lines as they are written", query=LOG_QUERY, media=STREAM),
    Operation("post", "/v1/halt", "refuse every order from now on", {"reason": TEXT}),
    Operation("post", "/v1/resume", "let orders leave again", {}),
    Operation("post", "/v1/stop", "end the run in order", {}),
)
ERRORS = {
    "400": "the body is no JSON",
    "401": "a token is needed",
    "403": "the request comes from another page",
    "409": "it cannot be done",
    "413": "the body is too large",
    "421": "the Host is none of this server's",
    "422": "a value is not allowed",
    "503": "not now",
}


def openapi() -> dict[str, Any]:
    """Return the document, version 3.1."""
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tidegate's control API", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": {
                "Problem": {
                    "type": "object",
                    "properties": {
                        "type": TEXT,
                        "title": TEXT,
                        "status": {"type": "integer"},
                        "detail": TEXT,
                    },
                    "required": ["type", "title", "status", "detail"],
                }
            }
        },
    }


def _described(operation: Operation) -> dict[str, Any]:
    schema = OBJECT if operation.media == "application/json" else TEXT
    described: dict[str, Any] = {
        "summary": operation.summary,
        "responses": {
            "200": {"description": "as asked", "content": {operation.media: {"schema": schema}}},
            **{
                status: {
                    "description": words,
                    "content": {
                        "application/problem+json": {
                            "schema": {"$ref": "#/components/schemas/Problem"}
                        }
                    },
                }
                for status, words in ERRORS.items()
            },
        },
    }
    parameters = [
        {"name": name, "in": "query", "schema": of} for name, of in operation.query.items()
    ]
    if "{slot}" in operation.path:
        parameters.append({"name": "slot", "in": "path", "required": True, "schema": TEXT})
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = {
            "required": bool(operation.needs),
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": operation.body,
                        "required": list(operation.needs),
                        "additionalProperties": False,
                    }
                }
            },
        }
    return described
