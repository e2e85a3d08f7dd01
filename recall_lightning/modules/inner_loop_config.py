"""Settings of the inner loop."""

import math
from dataclasses import dataclass
from typing import Literal

from recall_lightning.errors import InputError
from recall_lightning.meta.step_sizes import Learned


@dataclass
class InnerLoopConfig:
    """How a user is adapted to.

    Args:
        steps: gradient steps on the support.
        rate: where step sizes start.
        learned_rates: whether step sizes are learned: `no`, one for each `tensor` of fast weights, or one for each
            `element` (Meta-SGD).
        rates_lr: learning rate of the step sizes.
        per_step: whether each step has step sizes of its own (MAML++).
        first_order: whether the outer gradient ignores that steps depend on the weights that they start from.
        query_loss: which steps the outer loss looks behind: the `last`, or `every` one (MAML++'s multi-step loss).
        engine: `batched` (all users of a meta-batch at once), or `learn2learn` (one by one, the same result).
    """

    steps: int = 5
    rate: float = 0.3
    learned_rates: Learned = "tensor"
    rates_lr: float = 1e-2
    per_step: bool = True
    first_order: bool = False
    query_loss: Literal["last", "every"] = "every"
    engine: Literal["batched", "learn2learn"] = "batched"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"model.inner_loop.steps is {self.steps}: give 1 or more")
        if not 0 < self.rate < math.inf:
            raise InputError(f"model.inner_loop.rate is {self.rate}: give a number above 0")
        if not 0 <= self.rates_lr < math.inf:
            raise InputError(f"model.inner_loop.rates_lr is {self.rates_lr}: give a number from 0 up")
