"""The experiment's figures: means over users with intervals, and paired differences to the adapted model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from recall_lightning.baselines.bootstrap import Floats, intervals
from recall_lightning.baselines.report import best_of
from recall_lightning.coldstart.answers import Asked, Role
from recall_lightning.metrics.ranking import ndcg_at_k, recall_at_k

DEEP = 50  # second cut-off of the recall

Difference = tuple[float | None, float | None, float | None]  # and its interval


@dataclass(frozen=True)
class Figure:
    """One number of the report.

    Attributes:
        query: of the protocol.
        support: interactions that were told.
        model: what tables call it.
        role: as of `Answer`; `best baseline` for the one with the highest recall here, on the very cases shown.
        step: inner steps taken; None where there is no inner loop.
        metric: such as `recall@10`.
        value: the mean over users.
        low, high: its 95% interval; None where all users have the same value, which tells nothing of others.
        difference, difference_low, difference_high: the meta-trained model after its last step, minus this one, over
            the same users; None for that model itself.
        over_best, over_best_low, over_best_high: this one minus the best baseline, over the same users; None for that
            baseline itself, and where none was asked. The best is that of the main recall, for every metric, picked on
            the cases shown, which flatters it.
        n_users: that the mean is over.
        diverged: users whose inner loop came to nothing.
    """

    query: str
    support: int
    model: str
    role: Role | str
    step: int | None
    metric: str
    value: float
    low: float | None
    high: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    over_best: float | None
    over_best_low: float | None
    over_best_high: float | None
    n_users: int
    diverged: int


def figures(asked: Sequence[Asked], k: int) -> list[Figure]:
    """All figures.

    Args:
        asked: the answers, those of the meta-trained model among them.
        k: main cut-off; the recall at `DEEP` is told, too.
    """
    return [figure for each in asked for figure in _of_protocol(each, k)]


def _of_protocol(asked: Asked, k: int) -> Iterator[Figure]:
    best = best_of({place: of.ranks for place, of in enumerate(asked.answers) if of.role == "baseline"}, k)
    against = max(place for place, answer in enumerate(asked.answers) if answer.role == "adapted")
    metrics = {f"recall@{k}": (recall_at_k, k), f"recall@{DEEP}": (recall_at_k, DEEP), f"ndcg@{k}": (ndcg_at_k, k)}
    for metric, (of, at) in metrics.items():
        values = np.stack([of(answer.ranks, at).double().numpy() for answer in asked.answers], 1)  # (users, answers)
        found = intervals(values, against=against)
        to_best = None if best is None else intervals(values, against=best)
        for place, answer in enumerate(asked.answers):
            low, high = _interval(found["low"][place], found["high"][place])
            less: Difference = (None, None, None) if place == against else _turned(_difference(found, place))
            over: Difference = (None, None, None) if to_best is None or place == best else _difference(to_best, place)
            yield Figure(
                asked.protocol.query, asked.protocol.support, answer.model,
                "best baseline" if place == best else answer.role, answer.step, metric, float(found["mean"][place]),
                low, high, *less, *over, len(values), answer.diverged,
            )  # fmt: skip


def _difference(found: dict[str, Floats], place: int) -> Difference:
    """A model minus the one that the bootstrap compared with."""
    low, high = found["difference_low"][place], found["difference_high"][place]
    return float(found["difference"][place]), *_interval(low, high)


def _turned(difference: Difference) -> Difference:
    """The other way round."""
    over, low, high = (None if of is None else 0.0 - of for of in difference)
    return over, high, low


def _interval(low: float, high: float) -> tuple[float | None, float | None]:
    return (None, None) if low == high else (float(low), float(high))
