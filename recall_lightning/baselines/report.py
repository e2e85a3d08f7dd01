"""A comparison's figures: every metric of every contender, with intervals and differences, by group of users."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recall_lightning.baselines.bootstrap import intervals
from recall_lightning.baselines.cache import Result
from recall_lightning.baselines.evaluate import LONGEST_LIST, Rankings
from recall_lightning.data.ragged import pad, spans
from recall_lightning.data.splits import Cases
from recall_lightning.metrics.beyond_accuracy import (
    coverage,
    exposure,
    gini,
    intra_list_diversity,
    novelty,
    popularity_lift,
)
from recall_lightning.metrics.groups import history_groups, item_popularity_groups, target_group_recall
from recall_lightning.metrics.ranking import mrr_at_k, ndcg_at_k, recall_at_k

ALL = "all"
VECTORS_AT_ONCE = 2**24  # numbers: 64 MiB of float32
PER_USER = {"recall": recall_at_k, "ndcg": ndcg_at_k, "mrr": mrr_at_k}


@dataclass(frozen=True)
class Figure:
    """One number of the report.

    Attributes:
        cases: which, such as `test` or `new users`.
        group: of users, such as `history 5-9` or `gender F`; `all`.
        model: the contender's name.
        metric: such as `recall@10`, `recall@10 head` (targets that are popular items), `recall@10 among new items`.
        value: the mean over users, or a number of all the lists together (coverage, Gini index).
        low, high: 95% interval over users; None where the number is of all lists together.
        difference, difference_low, difference_high: to the best baseline, by the same users.
        n_users: that the mean is over.
        baseline: the name of the best one, in this group of these cases; None where nothing is compared with it.
    """

    cases: str
    group: str
    model: str
    metric: str
    value: float
    low: float | None
    high: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    n_users: int
    baseline: str | None = None


@dataclass(frozen=True)
class Known:
    """What of the data the figures need.

    Attributes:
        counts: `(items,)` int64 training interactions.
        n_users: that train.
        vectors: `(items, dim)` float for the diversity of lists, or None.
        user_groups: labels of users by the name of a column, each `(users,)` strings.
    """

    counts: Tensor
    n_users: int
    vectors: Tensor | None
    user_groups: Mapping[str, Sequence[str]]

    @cached_property
    def popularity(self) -> tuple[Tensor, list[str]]:
        """Label of each item and names of the labels, as of `item_popularity_groups`."""
        return item_popularity_groups(self.counts)


def figures(
    results: Mapping[str, Result], cases: Mapping[str, Cases], known: Known, ks: Sequence[int], baselines: Sequence[str]
) -> Iterator[Figure]:
    """All figures of a comparison.

    Args:
        results: by the contender's name.
        cases: by name.
        known: of the data.
        ks: cut-offs, at most `LONGEST_LIST` for metrics of lists.
        baselines: names among `results` that the others are compared with: with the one of the highest recall at the
            first k, on the very cases shown (which is hard on the others, never on the baseline).
    """
    for name, asked in cases.items():
        able = {model: result.rankings[name] for model, result in results.items() if name in result.rankings}
        if not able or not len(asked):
            continue
        for group, rows in _groups(asked, known):
            yield from _of_group(name, group, able, asked, rows, known, ks, baselines)


def best_of(ranks: Mapping[int, Tensor], k: int) -> int | None:
    """The place of the highest recall at k among ranks `(users, relevant)`, of equal ones the first; None of none."""
    # rounded, or float32 would tell apart what is equal
    recall = {place: round(float(recall_at_k(of, k).nanmean()), 6) for place, of in ranks.items()}
    return max(recall, key=lambda place: recall[place], default=None)


def _groups(asked: Cases, known: Known) -> Iterator[tuple[str, Tensor]]:
    """Groups of cases: all, by length of history, by column of users."""
    yield ALL, torch.arange(len(asked))
    labels, names = history_groups(torch.from_numpy(asked.history_lengths))
    if len(names) > 1:
        for label, name in enumerate(names):
            yield f"history {name}", (labels == label).nonzero()[:, 0]
    for column, values in known.user_groups.items():
        of_cases = np.array([values[user] for user in asked.users.tolist()], object)
        for value in sorted(set(of_cases.tolist())):
            yield f"{column} {value or '(unknown)'}", torch.from_numpy(np.flatnonzero(of_cases == value))


def _of_group(
    name: str, group: str, able: Mapping[str, Rankings], asked: Cases, rows: Tensor, known: Known, ks: Sequence[int],
    baselines: Sequence[str],
) -> Iterator[Figure]:  # fmt: skip
    chosen = rows.numpy()
    history = _rows(asked, asked.history[chosen])
    targets = _rows(asked, asked.targets[chosen])
    columns = [_per_user(rankings, rows, history, targets, known, ks) for rankings in able.values()]
    best = best_of({n: of.ranks[rows] for n, (model, of) in enumerate(able.items()) if model in baselines}, ks[0])
    baseline = None if best is None else list(able)[best]
    for metric in columns[0]:
        values = np.stack([of_model[metric].double().numpy() for of_model in columns], 1)  # (users, models)
        if np.isnan(values).all():
            continue
        found = intervals(values, against=best)
        for place, model in enumerate(able):

            def at(what: str, place: int = place, found: dict[str, Any] = found) -> float | None:
                if what in {"low", "high"} and found["low"][place] == found["high"][place]:
                    return (
                        None  # all users alike: what others would do isn't known, though the bootstrap sees no spread
                    )
                value = float(found[what][place]) if what in found else np.nan
                return None if np.isnan(value) else value

            n_users = int((~np.isnan(values[:, place])).sum())
            yield Figure(
                name, group, model, metric, float(found["mean"][place]), at("low"), at("high"), at("difference"),
                at("difference_low"), at("difference_high"), n_users, baseline,
            )  # fmt: skip
    for model, rankings in able.items():
        for metric, value in _of_lists(rankings.lists[rows], len(known.counts), ks):
            yield Figure(name, group, model, metric, value, None, None, None, None, None, len(rows))


def _per_user(
    rankings: Rankings, rows: Tensor, history: Tensor, targets: Tensor, known: Known, ks: Sequence[int]
) -> dict[str, Tensor]:
    """`(users,)` float by metric."""
    ranks = rankings.ranks[rows, : targets.shape[1]]
    found = {f"{metric}@{k}": of(ranks, k) for k in ks for metric, of in PER_USER.items()}
    labels, names = known.popularity
    for k in ks:
        by_popularity = target_group_recall(ranks, targets, labels, k, len(names))
        found |= {f"recall@{k} {name}": by_popularity[:, i] for i, name in enumerate(names)}
        if rankings.among is not None:
            found[f"recall@{k} among new items"] = recall_at_k(rankings.among[rows], k)
    for k in [k for k in ks if k <= LONGEST_LIST]:
        lists = rankings.lists[rows, :k]
        found[f"popularity_lift@{k}"] = popularity_lift(lists, history, known.counts)
        found[f"novelty@{k}"] = novelty(lists, known.counts, known.n_users)
        if known.vectors is not None:
            found[f"diversity@{k}"] = _diversity(lists, known.vectors)
    return found


def _diversity(lists: Tensor, vectors: Tensor) -> Tensor:
    """`(users,)` float, of some users at a time: the vectors of all lists may be more than the memory holds."""
    at_once = max(1, VECTORS_AT_ONCE // max(1, lists.shape[1] * vectors.shape[1]))
    return torch.cat([intra_list_diversity(some, vectors) for some in torch.split(lists, at_once)])


def _of_lists(lists: Tensor, n_items: int, ks: Sequence[int]) -> Iterator[tuple[str, float]]:
    for k in [k for k in ks if k <= LONGEST_LIST]:
        shown = exposure(lists[:, :k], n_items)
        yield f"coverage@{k}", float(coverage(shown))
        yield f"gini@{k}", float(gini(shown))


def _rows(asked: Cases, chosen: np.ndarray[Any, np.dtype[np.int64]]) -> Tensor:
    starts, stops = chosen.T
    return torch.from_numpy(pad(asked.interactions.items[spans(starts, stops)], stops - starts, fill=-1))
