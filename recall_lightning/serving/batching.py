"""Batching: requests that arrive together are answered together."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """What is asked."""

    @property
    def size(self) -> int:
        """How much of a batch it takes, from 1 up."""


Ask = TypeVar("Ask", bound=Sized)
Answer = TypeVar("Answer")


@dataclass
class _Waiting(Generic[Ask, Answer]):
    ask: Ask
    answer: asyncio.Future[Answer]
    since: float = field(default_factory=lambda: asyncio.get_running_loop().time())


class Batcher(Generic[Ask, Answer]):
    """Gathers what is asked, and has it answered a batch at a time, in the order it came.

    The first of a batch waits for others for `wait_s` seconds at most; while a batch is being answered the next one
    gathers, and then starts at once if its first has waited as long.

    Args:
        answer_all: answers a batch, an answer each; an exception in an answer's place is raised to who asked. It runs
            in `thread`.
        thread: runs one at a time.
        wait_s: 0 to wait for nobody.
        most: the largest sum of sizes of a batch; what is larger by itself makes a batch alone.
    """

    def __init__(
        self, answer_all: Callable[[Sequence[Ask]], Sequence[Answer | Exception]], thread: Executor, *, wait_s: float,
        most: int,
    ) -> None:  # fmt: skip
        self._answer_all, self._thread, self._wait_s, self._most = answer_all, thread, wait_s, most
        self._waiting: deque[_Waiting[Ask, Answer]] = deque()
        self._arrived = asyncio.Event()

    async def ask(self, ask: Ask) -> Answer:
        """The answer to what is asked, while `run` is running."""
        waiting = _Waiting[Ask, Answer](ask, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._arrived.set()
        return await waiting.answer

    async def run(self) -> None:
        """Answer until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._gathered()
            batch = self._taken()
            asks = [waiting.ask for waiting in batch]
            answers: Sequence[Answer | Exception]
            try:
                answers = await loop.run_in_executor(self._thread, self._answer_all, asks)
            except Exception as error:  # of our own making: all who asked are told, and the next are answered
                answers = [error] * len(batch)
            for waiting, answer in zip(batch, answers, strict=True):
                if waiting.answer.done():  # who asked has gone
                    continue
                if isinstance(answer, Exception):
                    waiting.answer.set_exception(answer)
                else:
                    waiting.answer.set_result(answer)

    async def _gathered(self) -> None:
        """Return when a batch is full, or its first has waited long enough."""
        loop = asyncio.get_running_loop()
        while not self._waiting or sum(waiting.ask.size for waiting in self._waiting) < self._most:
            left = self._waiting[0].since + self._wait_s - loop.time() if self._waiting else None
            if left is not None and left <= 0:
                return
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), left)
            except TimeoutError:
                return

    def _taken(self) -> list[_Waiting[Ask, Answer]]:
        batch = [self._waiting.popleft()]
        size = batch[0].ask.size
        while self._waiting and size + self._waiting[0].ask.size <= self._most:
            batch.append(self._waiting.popleft())
            size += batch[-1].ask.size
        return batch
