"""The order of training: shuffled by seed and epoch, shared among processes, resumable inside an epoch."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from recall_lightning.data.ragged import Ints

POOL = 32  # batches
_LISTED = 2**16  # indices that are Python's own numbers at once: those take several times a tensor's memory


class Keys(Dataset[Any]):
    """The data set whose entries are their own keys: the collator looks the data up, a whole batch at once."""

    def __getitem__(self, key: Any) -> Any:
        return key


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields `(epoch, index)`, each index once an epoch, in an order that follows from seed and epoch alone.

    With several processes each takes its share, equal in number. Where the indices don't suffice, as many processes as
    it takes get a stand-in at the end of the epoch: `~index` (below 0) of an index that another one has. It takes part
    in the step, so that no process waits in vain for another, and counts for nothing: see `counted`.

    Args:
        n: indices are 0 to n - 1.
        seed: of the shuffle.
        rank: this process.
        world_size: processes.
        lengths: `(n,)` numbers, for batches of about equal ones: in each `POOL` batches' worth of the shuffled order
            the indices are sorted by length, and the batches then shuffled again. None leaves them as they fall.
        batch_size: of those batches, a process.
    """

    def __init__(
        self, n: int, *, seed: int, rank: int = 0, world_size: int = 1, lengths: Tensor | None = None,
        batch_size: int = 1,
    ) -> None:  # fmt: skip
        self.n, self.seed, self.rank, self.world_size = n, seed, rank, world_size
        self.lengths, self.batch = lengths, batch_size * world_size  # of all processes together
        self.epoch = 0
        self.skip = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.n // self.world_size)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.n, generator=generator)
        if self.lengths is not None:
            pools = [pool[self.lengths[pool].argsort(stable=True)] for pool in torch.split(order, POOL * self.batch)]
            *batches, last = torch.split(torch.cat(pools), self.batch)  # the last may be smaller: it stays where it is
            order = torch.cat([*(batches[i] for i in torch.randperm(len(batches), generator=generator)), last])
        order = torch.cat([order, ~order[torch.arange(len(self) * self.world_size - self.n) % self.n]])
        skip, self.skip = self.skip, 0
        for some in torch.split(order[self.rank :: self.world_size][skip:], _LISTED):
            for index in some.tolist():
                yield self.epoch, index


def counted(keys: Sequence[tuple[int, int]]) -> tuple[Ints, NDArray[np.bool_]]:
    """The indices of a batch, and which of them count: stand-ins stay only where there is nothing else.

    Args:
        keys: `(epoch, index)` of each, from an `EpochSampler`.

    Returns:
        `(batch,)` int64 from 0 up, and `(batch,)` bool: all true, or, in a batch of stand-ins, all false.
    """
    indices = np.array([index for _, index in keys], np.int64)
    real = indices >= 0
    if real.any():
        return indices[real], np.ones(int(real.sum()), bool)
    return ~indices, real


class ResumableLoader(DataLoader[Any]):
    """A loader that goes on, after a resume inside an epoch, at the batch where the run stopped.

    Lightning keeps its state in the checkpoint (it would replay the epoch from its start otherwise).

    Attributes:
        seconds_waited: what those who asked for batches have waited for them, in all epochs: while they were made, or,
            where workers make them, until one was ready.
    """

    seconds_waited = 0.0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # a generator is an iterator enough
        self._yielded = self._resumed_at
        self._resumed_at = 0
        asked = time.perf_counter()
        for batch in super().__iter__():
            self._yielded += 1
            self.seconds_waited += time.perf_counter() - asked
            yield batch
            asked = time.perf_counter()

    _yielded = 0
    _resumed_at = 0

    def state_dict(self) -> dict[str, int]:
        return {"batches": self._yielded % len(self)}  # a whole epoch leaves nothing to skip

    def load_state_dict(self, state: dict[str, int]) -> None:
        assert isinstance(self.sampler, EpochSampler)
        assert self.batch_size is not None
        self._resumed_at = state["batches"]
        self.sampler.skip = state["batches"] * self.batch_size
