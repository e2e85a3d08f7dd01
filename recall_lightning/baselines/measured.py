"""Time and memory of a piece of work."""

import threading
import time
from types import TracebackType
from typing import Self


class Measured:
    """A context that measures what happens in it; memory where `psutil` is installed.

    Attributes:
        seconds: that it took.
        memory: bytes by which the process grew at most, looked at 20 times a second; 0 where it can't be known.
    """

    seconds: float = 0.0
    memory: int = 0

    def __enter__(self) -> Self:
        self._done = threading.Event()
        self._started, self._before = time.perf_counter(), _resident()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._started
        self._done.set()
        self._watch.join()

    def _look(self) -> None:
        while True:
            self.memory = max(self.memory, _resident() - self._before)
            if self._done.wait(0.05):
                self.memory = max(self.memory, _resident() - self._before)
                return


def _resident() -> int:
    try:
        import psutil
    except ImportError:
        return 0
    return int(psutil.Process().memory_info().rss)
