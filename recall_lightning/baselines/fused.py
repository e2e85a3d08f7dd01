"""Fused: a checkpoint and a baseline as one model, the baseline's weight by validation."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from recall_lightning.baselines.base import Contender, UnavailableError
from recall_lightning.baselines.cache import Cache
from recall_lightning.baselines.trained import Trained
from recall_lightning.baselines.tuning import settle, tune
from recall_lightning.data.batches import EvalBatch
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.interactions import Interactions
from recall_lightning.errors import InputError
from recall_lightning.fusion import NORMALS, WAYS, weighted_sum
from recall_lightning.models.scoring import set_aside
from recall_lightning.retrieval.fusing import Fusing

log = logging.getLogger(__name__)

WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0)  # of the baseline, the model's being 1


class Fused(Contender):
    """Recall by two channels: what the model scores, and what a baseline that was tuned by itself does.

    A weight of 0 is the model alone, so that fusion is chosen only where the validation gains by it.

    Args:
        model: the checkpoint.
        channel: the baseline.
        cache: what it was tuned to by itself is taken from there; None tunes it here.
    """

    # one setting, since a search by coordinates would try no other way where the first one gains nothing
    score_grid: ClassVar[Mapping[str, Sequence[Any]]] = {
        "way and weight": tuple((way, weight) for way in WAYS for weight in WEIGHTS)
    }
    counts_interactions = False

    def __init__(self, model: Trained, channel: Contender, cache: Cache | None = None) -> None:
        self.model, self.channel, self._cache = model, channel, cache
        self.name = f"{channel.name} + {model.name}"  # first what tells it from others: a table cuts long names
        super().__init__()
        # half an answer about new items would hide that the other half knows nothing of them
        self.serves_new_items = channel.serves_new_items

    @property
    def identity(self) -> dict[str, Any]:
        channel = f"{type(self.channel).__module__}.{type(self.channel).__qualname__}"
        return {**self.model.identity, "channel": channel, "of channel": self.channel.identity}

    def fit(self, train: Interactions, data: RecallDataModule) -> None:
        """Tune and fit the baseline, and encode the catalogue.

        Raises:
            UnavailableError: if the baseline can't take part.
        """
        kept = self._cache.read(self.channel) if self._cache else None
        if kept is None:
            tune(self.channel, data)
        else:
            settle(self.channel, kept.settings, data)
        self.model.fit(train, data)
        self.settings["of the baseline"] = self.channel.settings

    def score(self, batch: EvalBatch) -> Tensor:
        way, weight = self.settings["way and weight"]
        return WAYS[way](self._channels(batch), [1.0, weight])

    def score_by(self, batch: EvalBatch, name: str, values: Sequence[Any]) -> Iterator[Tensor]:
        """As of `Contender`: nobody is scored anew for a way and a weight, nor ordered for a weight."""
        channels, normals = self._channels(batch), dict[str, list[Tensor]]()
        for way, weight in values:
            if way not in normals:
                normals[way] = [NORMALS[way](scores) for scores in channels]
            self.settings[name] = (way, weight)
            yield weighted_sum(normals[way], [1.0, weight], channels[0] == -torch.inf)

    def _channels(self, batch: EvalBatch) -> list[Tensor]:
        """Each `(batch, items)` float, what a user has met already set aside."""
        history, channels = batch.history, []
        for contender in (self.model, self.channel):
            batch.history = history  # which contenders cut to what they read
            channels.append(set_aside(contender.score(batch), known=batch.known))
        return channels


def serving(fused: Fused, data: RecallDataModule) -> Fusing:
    """Choose way and weight as `compare` does, for users who are recommended to; nothing of the choice is kept.

    Args:
        fused: not yet fitted.
        data: already set up, the model's own (`Trained.check`).

    Raises:
        InputError: if there are no validation cases to choose by, or the baseline can't take part.
    """
    channel = fused.channel
    if not len(data.split.validation):
        raise InputError(
            f"fusing: {data.splits.name} gives no validation case to choose the weight of {channel.name} by. Recommend "
            "by the model alone"
        )
    try:
        tuned = tune(fused, data)
    except UnavailableError as why:
        raise InputError(f"fusing: {channel.name} {why}. Take another baseline, or the model alone") from why
    way, weight = fused.settings["way and weight"]
    log.info(
        "fused with %s by %s, weight %g: validation recall@10 %.4f, without %.4f",
        channel.name, way, weight, tuned.recall, tuned.before,
    )  # fmt: skip
    row_of = {user: row for row, user in enumerate(data.split.train.user_ids)}

    def score(user_ids: Sequence[str], history: Tensor) -> Tensor:
        users, nothing = torch.tensor([row_of.get(user, -1) for user in user_ids]), history[:, :0]
        return channel.score(EvalBatch(users, history, targets=nothing, known=nothing))

    return Fusing(score, way, weight, data.eval_batch_size)
