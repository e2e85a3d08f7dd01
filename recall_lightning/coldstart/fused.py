"""Models fused with a baseline: which, and how much it counts, by validation for each number of support interactions.

So a model falls back on popularity, say, where a support says too little.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recall_lightning.baselines.base import Contender, UnavailableError
from recall_lightning.baselines.cache import Cache, Result
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
    models: Sequence[Trained],
    channels: Sequence[Contender],
    data: RecallDataModule,
    group: Sequence[Protocol],
    cache: Cache,
    *,
    k: int,
) -> list[list[Chosen]]:
    """Fuse models with the baseline that each gains most by, for each protocol.

    Args:
        models: checkpoints.
        channels: baselines, each tuned by itself for each protocol, as `contenders.run` does; those that can't take
            part are left out.
        data: already set up.
        group: protocols of one query.
        cache: as of `contenders.cache_of`.
        k: cut-off of the recall that chooses.

    Returns:
        Of each model one a protocol, in the group's order; with a weight of 0, which is the first that is tried, where
        nothing is gained.

    Raises:
        UnavailableError: if none of the baselines can take part.
    """
    for model in models:
        model.fit(data.split.train, data)
    best: dict[tuple[int, int], Chosen] = {}
    left_out = []
    for channel in channels:
        try:
            tuned = contenders.run(channel, data, group, cache, k=k)
            for found in _with_one(models, channel, tuned, data, group, k=k):
                for place, chosen in found.items():
                    if place not in best or chosen.recall > best[place].recall:
                        best[place] = chosen
        except (UnavailableError, ValueError) as error:  # ValueError of `target_ranks`: scores that are NaN
            log.info("%s is not fused with: %s", channel.name, error)
            left_out.append(f"{channel.name} {error}")
    if not best:
        raise UnavailableError("; ".join(left_out))
    return [[best[model, protocol] for protocol in range(len(group))] for model in range(len(models))]


def _with_one(
    models: Sequence[Trained],
    channel: Contender,
    tuned: Result,
    data: RecallDataModule,
    group: Sequence[Protocol],
    *,
    k: int,
) -> list[dict[tuple[int, int], Chosen]]:
    """What models gain by one baseline, by the places of model and protocol; it is fitted once for each setting."""
    of_protocol = [tuned.settings[str(protocol.support)] for protocol in group]
    found, fitted = [], None
    for place in sorted(range(len(group)), key=lambda place: repr(of_protocol[place])):
        protocol, settings = group[place], of_protocol[place]
        if fitted != settings:
            settle(channel, settings, data)
            fitted = settings
        for which, model in enumerate(models):
            fused = Fused(model, channel)
            ((name, values),) = fused.score_grid.items()
            recalls = recalls_by(fused, protocol.validation, data, name, values, k=k)
            best = recalls.index(max(recalls))
            way, weight = fused.settings[name] = values[best]
            log.info(
                "%s with %s, %s, k=%d: by %ss, weight %g, validation recall@%d %.4f", model.name, channel.name,
                protocol.query, protocol.support, way, weight, k, recalls[best],
            )  # fmt: skip
            rankings = rank_cases(fused, protocol.asked, data, lists=False)
            settings_told = {"with": channel.name, "by": f"{way}s", "weight": weight}
            found.append({(which, place): Chosen(settings_told, recalls[best], rankings)})
    return found
