"""AdamW with a rate for the encoder and one for the towers, warm-up and decay."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import nn
from torch.distributed.tensor import DTensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from recall_lightning.errors import InputError


@dataclass
class OptimizerConfig:
    """Learning rates and their course.

    Args:
        encoder_lr: of the pretrained encoder.
        tower_lr: of the towers, and of a learned temperature and threshold.
        weight_decay: AdamW's, on matrices; biases, norms and scalars are not decayed.
        warmup: share of all steps over which the rates rise from 0.
        decay: how they fall afterwards: `linear` to 0, or not at all (`none`). Where the Trainer's steps have no end
            (`max_epochs: -1`) the rates neither rise nor fall.
    """

    encoder_lr: float = 5e-5
    tower_lr: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    decay: Literal["linear", "none"] = "linear"

    def __post_init__(self) -> None:
        for name in ("encoder_lr", "tower_lr", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise InputError(f"model.optimizer.{name} is {getattr(self, name)}: give a number from 0 up")
        if not 0 <= self.warmup < 1:
            raise InputError(f"model.optimizer.warmup is {self.warmup}: give a share from 0 up to, but below, 1")


@dataclass(frozen=True)
class ParameterGroup:
    """Weights that share a learning rate.

    Attributes:
        name: what TensorBoard calls it.
        rate: learning rate.
        parameters: the weights.
        decayed: whether its matrices are.
    """

    name: str
    rate: float
    parameters: Sequence[nn.Parameter]
    decayed: bool = True


def configure(
    config: OptimizerConfig, groups: Iterable[ParameterGroup], *, n_steps: float, fused: bool
) -> dict[str, Any]:
    """What `configure_optimizers` returns: the optimizer, and its schedule by step."""
    made = []
    for group in groups:
        trained = [p for p in group.parameters if p.requires_grad]
        decayed = [p for p in trained if p.dim() > 1 and group.decayed]
        kept = [p for p in trained if p.dim() <= 1 or not group.decayed]
        for suffix, decay, parameters in [("", config.weight_decay, decayed), ("-undecayed", 0.0, kept)]:
            # a fused optimizer takes no whole weights and shares of weights in one group
            whole = [p for p in parameters if not isinstance(p, DTensor)]
            shares = [p for p in parameters if isinstance(p, DTensor)]
            for kind, some in [("", whole), ("-shares", shares)]:
                if some:
                    name = group.name + suffix + kind
                    made.append({"params": some, "lr": group.rate, "weight_decay": decay, "name": name})
    # fused, one kernel for all weights, is several times the default's speed, on a CPU too
    optimizer = AdamW(made, fused=fused)
    schedule = LambdaLR(optimizer, partial(_course, config, n_steps))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step", "name": "lr"}}


def _course(config: OptimizerConfig, n_steps: float, step: int) -> float:
    """The share of the full rate at a step."""
    if math.isinf(n_steps):  # a run that is stopped by time or by hand has no course
        return 1.0
    warm = max(config.warmup * n_steps, 1e-9)
    if step < warm:
        return (step + 1) / (warm + 1)
    if config.decay == "none":
        return 1.0
    return max((n_steps - step) / max(n_steps - warm, 1), 0.0)
