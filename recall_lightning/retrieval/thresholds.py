"""Thresholds: the least score that is recommended."""

import math
from typing import Literal

from recall_lightning.errors import InputError
from recall_lightning.modules.threshold import ThresholdChoice

Threshold = float | Literal["auto"] | None


def alpha_of(threshold: Threshold, choice: ThresholdChoice) -> float | None:
    """The least score that is recommended; None for any.

    Args:
        threshold: what was asked for.
        choice: what validation chose, which `auto` takes.

    Raises:
        InputError: if the threshold is no number, or `auto` and there was no choice.
    """
    if threshold is None:
        return None
    if threshold == "auto":
        if choice.point is None:
            ((name, value),) = choice.config.constraint.items()
            raise InputError(
                f"threshold auto: the checkpoint holds no alpha: it is of an older version, or saved before a "
                f"validation found one by model.threshold.{name} {value:g}. Give a number, or train with another "
                "constraint"
            )
        return choice.point.alpha
    if isinstance(threshold, str) or not math.isfinite(threshold):
        raise InputError(f"threshold is {threshold}: give a number such as 0.4, or auto")
    return float(threshold)
