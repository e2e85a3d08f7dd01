"""Middleware: what happens to every request, wherever it goes."""

import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recall_lightning.serving.metrics import Metrics


class Bounded:
    """Refuses large bodies, before they are read where their size is told.

    Args:
        app: answers requests.
        most_bytes: the largest body.
        refusal: the answer to a larger one.
    """

    def __init__(self, app: ASGIApp, most_bytes: int, refusal: Callable[[], Response]) -> None:
        self._app, self._most_bytes, self._refusal = app, most_bytes, refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        told, read = Headers(scope=scope).get("content-length", ""), 0
        if told.isdecimal() and int(told) > self._most_bytes:
            await self._refusal()(scope, receive, send)
            return

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._most_bytes:
                raise HTTPException(413)
            return message

        await self._app(scope, counted, send)


class Watched:
    """Counts and times requests; a path that isn't served counts as `other`, so that no sender can make up names.

    Args:
        app: answers requests.
        metrics: where they are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, started = 500, time.perf_counter()

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            with self._metrics.inside.track_inprogress():
                await self._app(scope, receive, told)
        finally:
            path = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - started)
