"""Tuning: a contender's settings, chosen on the validation cases."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recall_lightning.baselines.base import Contender
from recall_lightning.baselines.evaluate import rank_cases, recall_of, recalls_by
from recall_lightning.baselines.measured import Measured
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.interactions import Interactions
from recall_lightning.data.splits import Cases, Splits

log = logging.getLogger(__name__)

EARLY = "first interactions a user"  # name of the setting that cuts what is learned from
PASSES = 2


@dataclass(frozen=True)
class Tuned:
    """What tuning came to.

    Attributes:
        recall: on the validation cases; NaN where there are none.
        before: the same with the settings that tuning starts from.
        fit: time and memory of learning with the chosen settings.
    """

    recall: float
    before: float
    fit: Measured


def tune(contender: Contender, data: RecallDataModule, *, k: int = 10) -> Tuned:
    """Fit a contender with the settings that recall most on the validation cases, as of `Search`.

    Args:
        contender: gets the best settings, and is fitted with them.
        data: already set up.
        k: cut-off of the recall.
    """
    search = Search(contender, data, [(data.splits, data.split.validation)], k=k)
    if not len(data.split.validation):
        search.fit(search.first)
        return Tuned(float("nan"), float("nan"), search.last_fit)
    best = search.best()
    search.fit(best)
    return Tuned(search.recall(best), search.recall(search.first), search.last_fit)


def settle(contender: Contender, settings: Mapping[str, Any], data: RecallDataModule) -> None:
    """Fit a contender with settings that an earlier search chose."""
    contender.settings |= settings
    contender.fit(first_interactions(data.split.train, settings.get(EARLY)), data)


class Search:
    """Looks for settings of a contender by their recall, the mean over one or several sets of validation cases.

    The search goes by coordinates: one setting after the other in the grids' order, the others at their best so far,
    until a pass changes nothing, or for `PASSES` passes. Where users are cold, contenders that count interactions may
    learn from each training user's first interactions alone, as all that such a user has is first interactions.

    Args:
        contender: gets settings, and is fitted with them, as the search goes.
        data: already set up.
        cases: sets of validation cases, each with how it was split.
        k: cut-off of the recall.

    Attributes:
        first: where the search starts.
        seen: recalls on each set of cases, by the settings' values.
        last_fit: time and memory of the last learning.
    """

    last_fit: Measured

    def __init__(
        self, contender: Contender, data: RecallDataModule, cases: Sequence[tuple[Splits, Cases]], *, k: int
    ) -> None:
        early = early_grid([splits for splits, _ in cases]) if contender.counts_interactions else {}
        self.grid: Mapping[str, Sequence[Any]] = {**contender.score_grid, **contender.fit_grid, **early}
        self.first = {name: values[0] for name, values in self.grid.items()}
        self.seen: dict[tuple[Any, ...], list[float]] = {}
        self._contender, self._data, self._k = contender, data, k
        self._cases = [part for _, part in cases]
        self._learned_by = [*contender.fit_grid, *early]
        self._fitted: dict[str, Any] | None = None

    def fit(self, settings: dict[str, Any]) -> None:
        """Fit the contender, unless it was last fitted with what learning depends on."""
        wanted = {name: settings[name] for name in self._learned_by}
        self._contender.settings |= settings  # what learning itself adds, such as when it stopped, stays
        if self._fitted != wanted:
            with Measured() as self.last_fit:
                train = first_interactions(self._data.split.train, settings.get(EARLY))
                self._contender.fit(train, self._data)
            self._fitted = wanted

    def recall(self, settings: dict[str, Any]) -> float:
        """The mean over the sets of cases."""
        key = tuple(settings.values())
        if key not in self.seen:
            self.fit(settings)
            rankings = (rank_cases(self._contender, cases, self._data, lists=False) for cases in self._cases)
            self.seen[key] = [recall_of(ranked, self._k) for ranked in rankings]
            log.debug("%s %s: %s", self._contender.name, settings, self.seen[key])
        return float(np.mean(self.seen[key]))

    def best(self) -> dict[str, Any]:
        """Search; the settings of the highest mean."""
        best = self.first
        for _ in range(PASSES):
            before = best
            for name, values in self.grid.items():
                choices = [{**best, name: value} for value in values]
                if name in self._contender.score_grid:
                    self._judge(name, choices)
                best = max(choices, key=self.recall)  # the first of equals
            if best == before:
                break
        return best

    def _judge(self, name: str, choices: Sequence[dict[str, Any]]) -> None:
        """See those that differ by a setting that nothing is learned by, in one pass over each set of cases."""
        unseen = [settings for settings in choices if tuple(settings.values()) not in self.seen]
        if not unseen:
            return
        self.fit(unseen[0])
        values = [settings[name] for settings in unseen]
        found = [recalls_by(self._contender, cases, self._data, name, values, k=self._k) for cases in self._cases]
        for settings, recalls in zip(unseen, zip(*found, strict=True), strict=True):
            self.seen[tuple(settings.values())] = list(recalls)
            log.debug("%s %s: %s", self._contender.name, settings, recalls)

    def best_on(self, place: int) -> dict[str, Any]:
        """Of the settings that the search has seen, those of the highest recall on one of the sets of cases."""
        values = max(self.seen, key=lambda key: self.seen[key][place])
        return dict(zip(self.grid, values, strict=True))

    def learned_by(self, settings: dict[str, Any]) -> str:
        """What of the settings learning depends on: equal for those that need no other fit."""
        return repr([settings[name] for name in self._learned_by])


def early_grid(splits: Sequence[Splits]) -> dict[str, Sequence[Any]]:
    """How many first interactions of each training user to learn from: all, or about what a cold user has.

    Args:
        splits: all alike but for the number of support interactions.
    """
    if splits[0].name != "cold_users":
        return {}
    told = [(each.k if each.query == "next" else each.window_from) + each.n_queries for each in splits]
    most = max(told)
    return {EARLY: (None, *dict.fromkeys([min(told), most, 2 * most, 4 * most]))}


def first_interactions(train: Interactions, n: int | None) -> Interactions:
    """Each user's first n interactions; None for all."""
    if n is None:
        return train
    place = np.arange(len(train)) - np.repeat(train.offsets[:-1], train.lengths)
    return train.select(place < n)
