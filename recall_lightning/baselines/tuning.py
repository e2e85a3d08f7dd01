"""Tuning: a contender's settings, chosen on the validation cases."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recall_lightning.baselines.base import Contender
from recall_lightning.baselines.evaluate import rank_cases, recall_of
from recall_lightning.baselines.measured import Measured
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.interactions import Interactions
from recall_lightning.data.splits import Splits

log = logging.getLogger(__name__)

EARLY = "first interactions a user"  # name of the setting that cuts what is learned from
PASSES = 2


@dataclass(frozen=True)
class Tuned:
    """What tuning came to.

    Attributes:
        recall: on the validation cases; NaN where there are none.
        fit: time and memory of learning with the chosen settings.
    """

    recall: float
    fit: Measured


def tune(contender: Contender, data: RecallDataModule, *, k: int = 10) -> Tuned:
    """Fit a contender with the settings that recall most on the validation cases.

    The search goes by coordinates: one setting after the other in the grids' order, the others at their best so far,
    until a pass changes nothing, or for `PASSES` passes. Where users are cold, contenders that count interactions may
    learn from each training user's first interactions alone, as all that such a user has is first interactions.

    Args:
        contender: gets the best settings, and is fitted with them.
        data: already set up.
        k: cut-off of the recall.
    """
    early = early_grid(data.splits) if contender.counts_interactions else {}
    grid: Mapping[str, Sequence[Any]] = {**contender.score_grid, **contender.fit_grid, **early}
    seen: dict[tuple[Any, ...], float] = {}
    fits: list[tuple[dict[str, Any], Measured]] = []

    def fit(settings: dict[str, Any]) -> None:
        wanted = {name: settings[name] for name in [*contender.fit_grid, *early]}
        contender.settings |= settings  # what learning itself adds, such as when it stopped, stays
        if not fits or fits[-1][0] != wanted:
            with Measured() as measured:
                contender.fit(first_interactions(data.split.train, settings.get(EARLY)), data)
            fits.append((wanted, measured))

    def recall(settings: dict[str, Any]) -> float:
        key = tuple(settings.values())
        if key not in seen:
            fit(settings)
            seen[key] = recall_of(rank_cases(contender, data.split.validation, data, lists=False), k)
            log.debug("%s %s: %.4f", contender.name, settings, seen[key])
        return seen[key]

    best = {name: values[0] for name, values in grid.items()}
    if not len(data.split.validation):
        fit(best)
        return Tuned(float("nan"), fits[-1][1])
    for _ in range(PASSES):
        before = best
        for name, values in grid.items():
            best = max(({**best, name: value} for value in values), key=recall)  # the first of equals
        if best == before:
            break
    fit(best)
    return Tuned(recall(best), fits[-1][1])


def early_grid(splits: Splits) -> dict[str, Sequence[Any]]:
    """How many first interactions of each training user to learn from: all, or about what a cold user has."""
    if splits.name != "cold_users":
        return {}
    told = (splits.k if splits.query == "next" else splits.window_from) + splits.n_queries
    return {EARLY: (None, told, 2 * told, 4 * told)}


def first_interactions(train: Interactions, n: int | None) -> Interactions:
    """Each user's first n interactions; None for all."""
    if n is None:
        return train
    place = np.arange(len(train)) - np.repeat(train.offsets[:-1], train.lengths)
    return train.select(place < n)
