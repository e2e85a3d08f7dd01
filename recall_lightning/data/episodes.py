"""Episodes: a user is a task, whose first interactions are the support and whose next ones are the query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from recall_lightning.data.batches import EvalBatch, EvalCollator, TrainBatch, TrainCollator
from recall_lightning.data.interactions import Interactions
from recall_lightning.data.ragged import Ints, pad, spans
from recall_lightning.data.sampler import counted
from recall_lightning.errors import InputError


@dataclass
class EpisodeConfig:
    """What an episode is made of.

    Args:
        min_support: fewest interactions of a support,
        max_support: and most; each episode draws its own number, so that one model serves every one.
        n_queries: most interactions of a query; they follow the support at once.
        latest_start: place in a user's history, from 0, where a support starts at the latest; each episode draws its
            own. 0 is for newcomers, who bring the first things they did; more is for users who were met later.
        late_share: share of the episodes that draw a start, where `latest_start` is above 0; the others start at 0.
    """

    min_support: int = 1
    max_support: int = 10
    n_queries: int = 5
    latest_start: int = 0
    late_share: float = 0.5

    def check(self, max_history: int) -> None:
        """Refuse values that can't be meant.

        Raises:
            InputError: naming the key.
        """
        for key, least in [("min_support", 1), ("n_queries", 1), ("latest_start", 0)]:
            if getattr(self, key) < least:
                raise InputError(f"data.episodes.{key} is {getattr(self, key)}: give {least} or more")
        if self.max_support < self.min_support:
            raise InputError(
                f"data.episodes.max_support is {self.max_support}, below min_support, {self.min_support}: give at "
                "least as many"
            )
        if self.max_support > max_history:
            raise InputError(
                f"data.episodes.max_support is {self.max_support}, but the user tower sees {max_history} items "
                "(data.max_history): raise that, or lower this"
            )
        if not 0 <= self.late_share <= 1:
            raise InputError(f"data.episodes.late_share is {self.late_share}: give a share from 0 to 1")


@dataclass
class EpisodeBatch(TrainBatch):
    """A meta-batch: each user a task.

    Attributes:
        history: `(users, support)` int64 rows of `items`: the support, newest in the last column, -1 at the left.
        targets: `(users, query)` int64 rows of `items`: the query, -1 at the right.
    """


@dataclass(frozen=True)
class EpisodeCollator(TrainCollator):
    """Makes an `EpisodeBatch`; `spans` hold a user's whole training history each.

    Args:
        episodes: what an episode is made of.
    """

    episodes: EpisodeConfig

    def __call__(self, keys: Sequence[tuple[int, int]]) -> EpisodeBatch:
        epoch, (chosen, real) = keys[0][0], counted(keys)
        rng = np.random.default_rng([self.seed, epoch, int(chosen[0])])
        starts, stops = self.spans[chosen].T
        config = self.episodes
        most = np.minimum(config.max_support, stops - starts - 1)  # one at least is left to ask for
        k = rng.integers(config.min_support, most + 1)
        latest = np.minimum(config.latest_start, stops - starts - k - 1)
        late = rng.random(len(k)) < config.late_share
        told = starts + np.where(late, rng.integers(0, latest + 1), 0)
        asked = told + k
        until = np.minimum(asked + config.n_queries, stops)
        items = self.train.items
        support = pad(items[spans(told, asked)], k, fill=-1, left=True)
        query = pad(items[spans(asked, until)], until - asked, fill=-1)
        users = np.searchsorted(self.train.offsets, starts, side="right") - 1
        batch = self.assemble(users, support, np.where(real[:, None], query, -1), rng)
        return EpisodeBatch(**{field.name: getattr(batch, field.name) for field in fields(batch)})


@dataclass(frozen=True)
class SupportCollator:
    """Makes an `EvalBatch` of cases that are told of by the same number of support interactions.

    Args:
        by_support: the collator of each number's cases.
    """

    by_support: Mapping[int, EvalCollator]

    def __call__(self, keys: Sequence[tuple[int, int]]) -> EvalBatch:
        """Args:
        keys: `(support, case)` of each, all of one support.
        """
        return self.by_support[keys[0][0]]([case for _, case in keys])


def episode_spans(train: Interactions, config: EpisodeConfig) -> Ints:
    """`(users, 2)` int64 rows of `train`: the histories that are long enough for a support and a query.

    Raises:
        InputError: if there is none.
    """
    long_enough = train.lengths > config.min_support
    if not long_enough.any():
        raise InputError(
            f"data.episodes: no training user has more than {config.min_support} interactions (min_support), which a "
            "support and a query need. Lower it, or give longer histories"
        )
    return np.stack([train.offsets[:-1], train.offsets[1:]], 1)[long_enough]


def episode_counts(train: Interactions, config: EpisodeConfig, n_items: int) -> Ints:
    """`(items,)` int64: interactions of each item within reach of an episode."""
    reach = config.latest_start + config.max_support + config.n_queries
    counts = np.zeros(n_items, np.int64)
    for block in train.blocks():
        part = block.part
        place = np.arange(len(part)) - np.repeat(part.offsets[:-1], part.lengths)
        counts += np.bincount(part.items[place < reach], minlength=n_items)
    return counts
