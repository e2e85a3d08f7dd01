"""The threshold alpha of a model: chosen in validation, kept in checkpoints."""

import logging
import math
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from recall_lightning.errors import InputError
from recall_lightning.metrics import RecallPrecisionAtThreshold, ThresholdCurve, ThresholdPoint

log = logging.getLogger(__name__)

_MOST_ITEMS = 50.0  # where a config says nothing: as many as `predict` gives


@dataclass
class ThresholdConfig:
    """By what alpha is chosen over the validation users; at most one, none is `max_items_per_user: 50`.

    Args:
        min_precision: most recall with at least this precision, over all recalled pairs of a user and an item.
        max_items_per_user: most recall with at most so many recalled items a user on average.
        beta: the best F-beta of recall and precision; above 1 it favours recall.
    """

    min_precision: float | None = None
    max_items_per_user: float | None = None
    beta: float | None = None

    def __post_init__(self) -> None:
        given = self._given()
        if len(given) > 1:
            raise InputError(
                f"model.threshold: {' and '.join(given)} are given, but one alone chooses: give one of them"
            )
        for name, value in given.items():
            if not 0 < value < math.inf:
                raise InputError(f"model.threshold.{name} is {value}: give a number above 0")
        if self.min_precision is not None and self.min_precision > 1:
            raise InputError(f"model.threshold.min_precision is {self.min_precision}: give a share above 0, up to 1")

    @property
    def constraint(self) -> dict[str, float]:
        """The one constraint by its name, as `ThresholdCurve.best` takes it."""
        return self._given() or {"max_items_per_user": _MOST_ITEMS}

    def _given(self) -> dict[str, float]:
        return {name: value for name, value in asdict(self).items() if value is not None}


class ThresholdChoice(nn.Module):
    """Sweeps alpha over the scores of validation users, keeps the best one, and tells in a test what it gives there.

    Args:
        config: by what it is chosen.

    Attributes:
        point: the threshold of the last validation, with recall and precision there; None before, and where no
            threshold met the constraint.
        curve: the last validation's, None before.
    """

    def __init__(self, config: ThresholdConfig) -> None:
        super().__init__()
        self.config = config
        self._pairs = RecallPrecisionAtThreshold()
        self.point: ThresholdPoint | None = None
        self.curve: ThresholdCurve | None = None
        self._told = False

    def begin(self) -> None:
        """Start a validation or a test."""
        self._pairs.reset()

    def update(self, scores: Tensor, targets: Tensor) -> None:
        """Count a batch of users; arguments and errors as of `RecallPrecisionAtThreshold.update`."""
        self._pairs.update(scores, targets)

    def choose(self) -> dict[str, float]:
        """End a validation: choose alpha by what was counted, over all processes.

        Returns:
            `alpha`, `recall@alpha`, `precision@alpha` and `items@alpha`; nothing where no threshold meets the
            constraint, which the log tells once.
        """
        self.curve = self._pairs.compute()
        try:
            self.point = self.curve.best(**self.config.constraint)
        except ValueError as error:
            self.point = None
            if not self._told:
                log.info("no alpha is kept (model.threshold): %s", error)
            self._told = True
            return {}
        return {"alpha": self.point.alpha, **_named(self.point)}

    def report(self) -> dict[str, float]:
        """End a test: what the kept alpha gave, `recall@alpha` and so on; nothing where none is kept."""
        return {} if self.point is None else _named(self._pairs.compute().at(self.point.alpha))

    def carried(self) -> dict[str, Any] | None:
        """What a checkpoint carries: plain types, the constraint with them."""
        return None if self.point is None else self.point._asdict() | {"constraint": self.config.constraint}

    def restore(self, carried: dict[str, Any] | None) -> None:
        """The inverse of `carried`."""
        self.point = None if carried is None else ThresholdPoint(*(carried[name] for name in ThresholdPoint._fields))


def _named(point: ThresholdPoint) -> dict[str, float]:
    return {"recall@alpha": point.recall, "precision@alpha": point.precision, "items@alpha": point.items_per_user}
