"""The service: a recommender that many ask at a time."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

from recall_lightning.retrieval.pool import Added
from recall_lightning.retrieval.recommender import Recommender
from recall_lightning.serving.answers import Ask, Lists, Options, recommendations
from recall_lightning.serving.batching import Batcher
from recall_lightning.serving.bodies import AddRequest, RecommendRequest, SimilarRequest
from recall_lightning.serving.items import posted_items
from recall_lightning.serving.limits import Limits
from recall_lightning.serving.metrics import Metrics
from recall_lightning.serving.problems import Problem, RequestError

T = TypeVar("T")


class Service:
    """Answers requests by one recommender, whose items can grow meanwhile.

    One thread ranks, a batch at a time. Another encodes items that are added: into a copy of the recommender, which
    then takes its place, so that a batch sees either none of them or all.

    Args:
        recommender: used by this service alone from now on.
        limits: what requests may ask.
        wait_s: how long the first request of a batch waits for others.
        users_at_once: most users of a batch.
    """

    def __init__(
        self, recommender: Recommender, limits: Limits | None = None, *, wait_s: float = 0.0, users_at_once: int = 256
    ) -> None:
        self.limits, self.metrics = limits or Limits(), Metrics()
        self._recommender = recommender
        self._wait_s, self._users_at_once = wait_s, users_at_once
        self._inside = 0
        self.metrics.ranked.set(recommender.n_ranked)

    @property
    def recommender(self) -> Recommender:
        """The one that answers now; another stands here once items were added."""
        return self._recommender

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answer requests meanwhile."""
        self._adding = asyncio.Lock()
        with ThreadPoolExecutor(1, "rank") as self._rank, ThreadPoolExecutor(1, "encode") as self._encode:
            self._batcher = Batcher[Ask, Lists](self._ranked, self._rank, wait_s=self._wait_s, most=self._users_at_once)
            batches = asyncio.create_task(self._batcher.run())
            try:
                yield
            finally:
                batches.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await batches

    async def recommend(self, request: RecommendRequest) -> Lists:
        """The lists of a request's users, in its order.

        Raises:
            RequestError: if it exceeds a limit or asks for what the model can't do, or too many others are waiting.
        """
        _refuse(request.problems(self.limits) or self._unsuited(request))
        candidates = None if request.candidates is None else frozenset(request.candidates)
        options = Options(candidates, request.include_known, request.threshold, request.adapt)
        ids, histories = [user.user_id for user in request.users], [user.history for user in request.users]
        with self._place():
            return await self._batcher.ask(Ask(ids, histories, self._k(request.k, 50), options))

    async def similar(self, request: SimilarRequest) -> list[tuple[str, str, float]]:
        """`(item_id, title, score)` of the nearest items.

        Raises:
            RequestError: if it exceeds a limit, the item is unknown, or too many others are waiting.
        """
        _refuse(request.problems(self.limits))
        pool = self.recommender.pool
        if request.item_id is not None and pool.row(request.item_id) < 0:
            problem = Problem(
                "body.item_id", f"not in the catalogue of {len(pool)}", "check the id, or add the item by POST /items"
            )
            raise RequestError(404, problem)
        with self._place():
            return await self._in(
                self._rank,
                lambda: self.recommender.similar(item=request.item_id, text=request.text, k=self._k(request.k, 10)),
            )

    async def add(self, request: AddRequest) -> tuple[Added, int]:
        """What came of adding items, and how many are ranked now.

        Raises:
            RequestError: if it exceeds a limit, an item has no text, the service is full, or too many others are
                waiting.
        """
        _refuse(request.problems(self.limits))
        items = posted_items(request, self.recommender.trained.template)
        with self._place():
            async with self._adding:
                grown = self.recommender.copy()
                total = len(grown.pool) + sum(grown.pool.row(item) < 0 for item in items.ids)
                if total > (most := self.limits.catalogue):
                    what = f"the service would hold {total:,} items, and {most:,} are allowed"
                    raise RequestError(409, Problem("body.items", what, "have it started with a higher limit"))
                added = await self._in(self._encode, lambda: grown.add_items(items))
                self._recommender = grown
        self.metrics.ranked.set(grown.n_ranked)
        for outcome, count in added._asdict().items():
            self.metrics.added.labels(outcome).inc(count)
        return added, grown.n_ranked

    def _ranked(self, asks: Sequence[Ask]) -> list[Lists | Exception]:
        started = time.perf_counter()
        answers = recommendations(self.recommender, asks)
        n_users = sum(ask.size for ask in asks)
        self.metrics.batch_seconds.observe(time.perf_counter() - started)
        self.metrics.batch_users.observe(n_users)
        self.metrics.users.inc(n_users)
        return answers

    def _unsuited(self, request: RecommendRequest) -> list[Problem]:
        """What this model can't do, or of these candidates."""
        recommender, found = self.recommender, []
        if request.adapt and not recommender.module.is_meta:
            found.append(
                Problem("body.adapt", "the checkpoint was not meta-trained, so it can't adapt to users", "leave it out")
            )
        if request.threshold == "auto" and recommender.module.threshold.point is None:
            found.append(Problem("body.threshold", "the checkpoint holds no alpha", "give a number such as 0.4"))
        ids = request.candidates
        if ids is not None and not any(0 <= recommender.pool.row(item) < recommender.n_ranked for item in ids):
            mend = "check their ids, or add them by POST /items"
            found.append(Problem("body.candidates", "none of them is in the catalogue", mend))
        return found

    def _k(self, asked: int | None, otherwise: int) -> int:
        return asked or min(otherwise, self.limits.k)

    @contextmanager
    def _place(self) -> Iterator[None]:
        """A place among those who are answered."""
        if self._inside >= self.limits.waiting:
            problem = Problem("service", f"{self._inside} requests are waiting already", "send it again in a second")
            raise RequestError(503, problem)
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    @staticmethod
    async def _in(thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(thread, work)


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise RequestError(422, *problems)
