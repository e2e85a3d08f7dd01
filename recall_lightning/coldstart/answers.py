"""Answers: where a model ranked what a protocol's users took next."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from recall_lightning.coldstart.protocols import Protocol

Role = Literal["baseline", "base", "control", "start", "adapted", "base fused", "adapted fused"]

BASE, CONTROL, START, ADAPTED = "base", "base, fine-tuned", "MAML, unadapted", "MAML, adapted"  # what tables call them
BASE_FUSED, ADAPTED_FUSED = f"{BASE}, fused", f"{ADAPTED}, fused"


@dataclass(frozen=True)
class Answer:
    """What a model made of a protocol's cases.

    Attributes:
        model: what tables call it.
        role: in the experiment: a baseline; the model that meta-training started from, as it is (`base`) and fine-tuned
            (`control`); the meta-trained one before (`start`) and after adaptation; the base and the adapted one, each
            fused with a baseline.
        step: inner steps taken; None where there is no inner loop.
        ranks: `(cases, relevant)` int64, as of `target_ranks`.
        diverged: users whose inner loop came to nothing, and who got the unadapted answer.
    """

    model: str
    role: Role
    step: int | None
    ranks: Tensor
    diverged: int = 0


@dataclass(frozen=True)
class Asked:
    """A protocol, and what every model made of it; answers after 0, 1, ... steps stand in that order."""

    protocol: Protocol
    answers: list[Answer]
