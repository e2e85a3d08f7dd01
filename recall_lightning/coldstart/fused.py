"""Models fused with a baseline: which, and how much it counts, by validation for each number of support interactions.

So a model falls back on popularity, say, where a support says too little.
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
from recall_lightning.baselines.tuning import Search
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


Best = dict[tuple[int, int], Chosen]  # by the places of model and protocol


def run(
    models: Sequence[Trained],
    channels: Sequence[Contender],
    data: RecallDataModule,
    group: Sequence[Protocol],
    cache: Cache,
    *,
    k: int,
) -> tuple[list[list[Chosen]], dict[str, str]]:
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
        Of each model one a protocol, in the group's order, with a weight of 0, which is the first that is tried, where
        nothing is gained; and why baselines were left out, by name.

    Raises:
        UnavailableError: if none of the baselines can take part.
    """
    for model in models:
        model.fit(data.split.train, data)
    best: Best = {}
    left_out = {}
    for channel in channels:
        try:
            best = _with_one(models, channel, data, group, cache, best, k=k)
        except UnavailableError as why:
            left_out[channel.name] = str(why)
    if not best:
        raise UnavailableError("; ".join(f"{name} {why}" for name, why in left_out.items()))
    return [[best[model, protocol] for protocol in range(len(group))] for model in range(len(models))], left_out


def _with_one(
    models: Sequence[Trained],
    channel: Contender,
    data: RecallDataModule,
    group: Sequence[Protocol],
    cache: Cache,
    best: Best,
    *,
    k: int,
) -> Best:
    """What is best when a baseline more is tried; it is fitted once for all protocols that share what is learned."""
    tuned = contenders.run(channel, data, group, cache, k=k).settings
    search = Search(channel, data, [(protocol.splits, protocol.validation) for protocol in group], k=k)
    settings = [tuned[str(protocol.support)] for protocol in group]
    found = dict(best)
    for place in sorted(range(len(group)), key=lambda place: search.learned_by(settings[place])):
        protocol = group[place]
        search.fit(settings[place])
        for which, model in enumerate(models):
            fused = Fused(model, channel)
            ((name, values),) = fused.score_grid.items()
            try:
                recalls = recalls_by(fused, protocol.validation, data, name, values, k=k)
                recall = max(recalls)
                if (which, place) in found and recall <= found[which, place].recall:
                    continue
                way, weight = fused.settings[name] = values[recalls.index(recall)]
                rankings = rank_cases(fused, protocol.asked, data, lists=False)
            except ValueError as error:  # of `target_ranks`: scores that are NaN
                raise UnavailableError(str(error)) from error
            log.info(
                "%s with %s, %s, k=%d: by %ss, weight %g, validation recall@%d %.4f", model.name, channel.name,
                protocol.query, protocol.support, way, weight, k, recall,
            )  # fmt: skip
            chosen = {"with": channel.name, "by": f"{way}s", "weight": weight}
            found[which, place] = Chosen(chosen, recall, rankings)
    return found
