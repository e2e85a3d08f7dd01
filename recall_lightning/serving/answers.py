"""Answers: what several requests come to, by few calls of the recommender."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recall_lightning.errors import InputError
from recall_lightning.retrieval.recommender import Recommender
from recall_lightning.retrieval.thresholds import Threshold

Lists = list[dict[str, Any]]  # a user each, as `bodies.UserItems` has it


@dataclass(frozen=True)
class Options:
    """What users must agree on to be ranked in one matrix product; k isn't of it, since a longer list can be cut."""

    candidates: frozenset[str] | None
    include_known: bool
    threshold: Threshold
    adapt: bool


@dataclass(frozen=True)
class Ask:
    """A request for recommendations.

    Attributes:
        user_ids: `(users,)`.
        histories: `(users,)` item ids, oldest first.
        k: items a user.
        options: what else was asked.
    """

    user_ids: list[str]
    histories: list[list[str]]
    k: int
    options: Options

    @property
    def size(self) -> int:
        return len(self.user_ids)


def recommendations(recommender: Recommender, asks: Sequence[Ask]) -> list[Lists | Exception]:
    """Answer requests, those with the same options together.

    Returns:
        `(asks,)` lists of each request's users; an `InputError` where the options don't suit the model.
    """
    answers: list[Lists | Exception] = [[] for _ in asks]
    alike: dict[Options, list[int]] = {}
    for place, ask in enumerate(asks):
        alike.setdefault(ask.options, []).append(place)
    for options, places in alike.items():
        try:
            lists = _together(recommender, [asks[place] for place in places], options)
        except InputError as error:  # of the options, which all of them share
            lists = [error] * len(places)
        for place, answer in zip(places, lists, strict=True):
            answers[place] = answer
    return answers


def _together(recommender: Recommender, asks: list[Ask], options: Options) -> list[Lists | Exception]:
    histories = [history for ask in asks for history in ask.histories]
    table = recommender.recommend(
        {str(n): history for n, history in enumerate(histories)},  # of several requests, who may name users alike
        k=max(ask.k for ask in asks), candidates=options.candidates, include_known=options.include_known,
        threshold=options.threshold, adapt=options.adapt,
    ).table  # fmt: skip
    users = np.array(table["user_id"].to_pylist(), np.int64)
    starts, stops = (np.searchsorted(users, np.arange(len(histories)), side).tolist() for side in ("left", "right"))
    items, scores, pool = table["item_id"].to_pylist(), table["score"].to_pylist(), recommender.pool
    answers, n = list[Lists | Exception](), 0
    for ask in asks:
        lists: Lists = []
        for user_id, history in zip(ask.user_ids, ask.histories, strict=True):
            best = slice(starts[n], min(stops[n], starts[n] + ask.k))
            unknown = sum(pool.row(item) < 0 for item in history)
            found = [
                {"item_id": item, "title": pool.titles[pool.row(item)], "score": score}
                for item, score in zip(items[best], scores[best], strict=True)
            ]
            lists.append(
                {"user_id": user_id, "items": found, "unknown_items": unknown, "by_popularity": unknown == len(history)}
            )
            n += 1
        answers.append(lists)
    return answers
