"""The application: which request goes where."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse

from recall_lightning.serving import bodies
from recall_lightning.serving.middleware import Bounded, Watched
from recall_lightning.serving.problems import Problem, RequestError
from recall_lightning.serving.refusals import tell_problems, too_large
from recall_lightning.serving.service import Service

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": bodies.Errors, "description": what}
    for status, what in [
        (413, "the body is too large"),
        (415, "the body is no JSON"),
        (422, "the request is wrong: what, where, and how to mend it"),
        (503, "too many requests are waiting: come again"),
    ]
}


def application(service: Service, name: str = "the model", *, read_only: bool = False) -> FastAPI:
    """The service over HTTP.

    Args:
        service: answers.
        name: what the checkpoint is called.
        read_only: whether items can't be added.
    """

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(title="recall-lightning", lifespan=running)
    app.add_middleware(Bounded, most_bytes=service.limits.body_bytes, refusal=lambda: too_large(service.limits))
    app.add_middleware(Watched, metrics=service.metrics)
    tell_problems(app, service.limits)

    @app.post("/recommend", response_model=bodies.RecommendAnswer, responses=ERRORS)
    async def recommend(request: bodies.RecommendRequest) -> Response:
        """The items that each user of a list of histories is most likely to want."""
        return JSONResponse({"users": await service.recommend(request)})

    @app.post("/similar", response_model=bodies.SimilarAnswer, responses={404: {"model": bodies.Errors}, **ERRORS})
    async def similar(request: bodies.SimilarRequest) -> Response:
        """The items nearest to an item, or to a text."""
        found = await service.similar(request)
        return JSONResponse({"items": [dict(zip(("item_id", "title", "score"), item, strict=True)) for item in found]})

    @app.post("/items", response_model=bodies.AddAnswer, responses={409: {"model": bodies.Errors}, **ERRORS})
    async def add(request: bodies.AddRequest) -> Response:
        """Add items, or change texts; once answered, all requests see them."""
        if read_only:
            raise RequestError(403, Problem("/items", "the service is read-only", "start it without --read-only"))
        added, ranked = await service.add(request)
        return JSONResponse({**added._asdict(), "ranked": ranked})

    @app.get("/health")
    async def health() -> bodies.Health:
        """That requests are answered, of what model, and the limits."""
        recommender = service.recommender
        point = recommender.module.threshold.point
        return bodies.Health(
            status="ok", checkpoint=name, ranked=recommender.n_ranked, adapts=recommender.module.is_meta,
            template=recommender.trained.template, alpha=None if point is None else point.alpha,
            limits=asdict(service.limits),
        )  # fmt: skip

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Counts and times, for Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return app
