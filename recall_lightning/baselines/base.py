"""What `compare` compares: anything that scores the catalogue for a batch of cases."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from recall_lightning.data.batches import EvalBatch
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.interactions import Interactions


class UnavailableError(Exception):
    """A contender can't take part here; the message says why, and the table shows it."""


class Contender(ABC):
    """A model in a comparison.

    A contender is fitted anew where a setting of `fit_grid` changes, and only scores anew where one of `score_grid`
    does. `tune` chooses among them on the validation cases.

    Attributes:
        name: what the table calls it.
        fit_grid: settings that change what is learned, each with the values to try; the first is where tuning starts.
        score_grid: settings that change only how users are scored.
        serves_new_items: whether it can rank an item that it has no training interaction with.
        counts_interactions: whether it learns from who took what, so that (for cold users) learning from early
            histories alone is worth a try.
        settings: the values in use.
    """

    name: str
    fit_grid: ClassVar[Mapping[str, Sequence[Any]]] = {}
    score_grid: ClassVar[Mapping[str, Sequence[Any]]] = {}
    serves_new_items: bool = False
    counts_interactions: ClassVar[bool] = True

    def __init__(self, **settings: Any) -> None:
        first = {name: values[0] for name, values in [*self.fit_grid.items(), *self.score_grid.items()]}
        if unknown := settings.keys() - first.keys():
            raise ValueError(f"{self.name} has no setting {min(unknown)!r}: it has {', '.join(first) or 'none'}")
        self.settings: dict[str, Any] = first | settings

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this contender from others, beside its class: plain types, for the cache."""
        return {}

    @abstractmethod
    def fit(self, train: Interactions, data: RecallDataModule) -> None:
        """Learn with the present settings.

        Args:
            train: the training part of `data`, or of it each user's first interactions.
            data: already set up; for the catalogue, its tokens, and the validation cases where training stops by them.

        Raises:
            UnavailableError: if it can't take part, such as for a library that isn't installed.
        """

    @abstractmethod
    def score(self, batch: EvalBatch) -> Tensor:
        """`(batch, items)` float scores of the whole catalogue; known items are set aside by the caller.

        Histories of `batch` are whole. Equal scores count against the contender.
        """

    def score_by(self, batch: EvalBatch, name: str, values: Sequence[Any]) -> Iterator[Tensor]:
        """Score users by one value after the other of a setting of `score_grid`; the last one stays.

        A contender whose values have work in common does that once.

        Args:
            batch: as of `score`.
            name: of the setting.
            values: of it.

        Yields:
            `(batch, items)` float for each value, which the caller may overwrite.
        """
        history = batch.history
        for value in values:
            self.settings[name], batch.history = value, history  # which contenders cut to what they read
            yield self.score(batch)


def last_of(history: Tensor, n: int | None) -> Tensor:
    """The newest items of histories.

    Args:
        history: `(batch, history)` int64, newest in the last column, -1 at the left.
        n: how many; None for all.
    """
    return history if n is None else history[:, -n:]
