"""Refusals: what the sender of a bad request is told, in one form whatever is wrong with it."""

import json

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from recall_lightning.errors import InputError
from recall_lightning.serving.limits import Limits
from recall_lightning.serving.problems import Problem, RequestError, body_of, problem_of

SERVED = "ask for POST /recommend, POST /similar, POST /items, GET /health, GET /metrics or GET /docs"


def tell_problems(app: FastAPI, limits: Limits) -> None:
    """Have an application answer whatever is wrong with a request in one form."""

    @app.exception_handler(RequestError)
    async def refused(_: Request, error: RequestError) -> Response:
        return _told(error.status, *error.problems, headers={"Retry-After": "1"} if error.status == 503 else None)

    @app.exception_handler(InputError)
    async def unsuited(_: Request, error: InputError) -> Response:
        what, _dot, mend = str(error).partition(". ")
        return _told(422, Problem("body", what, mend))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        no_json = any(isinstance(found.get("input"), bytes) for found in error.errors())
        return _told(415 if no_json else 422, *map(problem_of, error.errors()))

    @app.exception_handler(HTTPException)
    async def elsewhere(asked: Request, error: HTTPException) -> Response:
        if error.status_code == 413:
            return too_large(limits)
        mend = "send one JSON object, in UTF-8" if error.status_code == 400 else SERVED
        problem = Problem(f"{asked.method} {asked.url.path[:100]}", str(error.detail), mend)
        return _told(error.status_code, problem, headers=dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> Response:
        return _told(500, Problem("service", "it failed; its log says more", "tell who runs it"))


def too_large(limits: Limits) -> Response:
    """The answer to a body that is larger than allowed."""
    what = f"more than the {limits.body_bytes:,} bytes that are allowed"
    return _told(413, Problem("body", what, "send less at a time"))


def _told(status: int, *problems: Problem, headers: dict[str, str] | None = None) -> Response:
    text = json.dumps(body_of(problems))  # in ASCII: what was sent may hold what UTF-8 can't
    return Response(text, status, headers, media_type="application/json")
