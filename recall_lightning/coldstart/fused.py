"""A model fused with a baseline: which, and how much it counts, by validation for each number of support interactions.

So the model falls back on popularity, say, where a support says too little.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recall_lightning.baselines.base import Contender, UnavailableError
from recall_lightning.baselines.cache import Cache
from recall_lightning.baselines.evaluate import Rankings, rank_cases, recalls_by
from recall_lightning.baselines.fused import Fused
from recall_lightning.baselines.trained import Trained
from recall_lightning.baselines.tuning import settle
from recall_lightning.coldstart import contenders
from recall_lightning.coldstart.protocols import Protocol
from recall_lightning.data.datamodule import RecallDataModule

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chosen:
    """What came out on a protocol's validation cases.

    Attributes:
        settings: the baseline's name, the way and its weight.
        recall: on validation.
        rankings: of the cases that are asked about.
    """

    settings: Mapping[str, Any]
    recall: float
    rankings: Rankings


def run(
    model: Trained, channels: Sequence[Contender], data: RecallDataModule, group: Sequence[Protocol], cache: Cache,
    *, k: int,
) -> list[Chosen]:  # fmt: skip
    """Fuse a model with the baseline that it gains most by, for each protocol.

    Args:
        model: a checkpoint.
        channels: baselines, each of which is tuned by itself for each protocol, as `contenders.run` does.
        data: already set up.
        group: protocols of one query.
        cache: as of `contenders.cache_of`.
        k: cut-off of the recall that chooses.

    Returns:
        One a protocol; with a weight of 0, which is the first that is tried, where nothing is gained.

    Raises:
        UnavailableError: if one of the baselines can't take part.
    """
    tuned = [contenders.run(channel, data, group, cache, k=k).settings for channel in channels]
    model.fit(data.split.train, data)
    found = []
    for protocol in group:
        best: Chosen | None = None
        for channel, settings in zip(channels, tuned, strict=True):
            settle(channel, settings[str(protocol.support)], data)
            fused = Fused(model, channel)
            ((name, values),) = fused.score_grid.items()
            try:
                recalls = recalls_by(fused, protocol.validation, data, name, values, k=k)
            except ValueError as error:  # of `target_ranks`: scores that are NaN
                raise UnavailableError(str(error)) from error
            place = recalls.index(max(recalls))
            if best is None or recalls[place] > best.recall:
                way, weight = fused.settings[name] = values[place]
                rankings = rank_cases(fused, protocol.asked, data, lists=False)
                best = Chosen({"with": channel.name, "by": f"{way}s", "weight": weight}, recalls[place], rankings)
        assert best is not None
        log.info("%s, %s, k=%d: %s", model.name, protocol.query, protocol.support, dict(best.settings))
        found.append(best)
    return found
