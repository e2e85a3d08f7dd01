"""Step sizes of the inner loop: fixed, or learned with everything else."""

from typing import Literal

import torch
from torch import Tensor, nn

Learned = Literal["no", "tensor", "element"]


class StepSizes(nn.Module):
    """A step size for each weight, and where wanted for each step and element.

    Learned by element and shared by all steps they are Meta-SGD's (Li et al., 2017); learned by tensor and step, those
    of MAML++ (Antoniou et al., ICLR 2019).

    Args:
        adapted: the module whose weights take the steps.
        rate: where they all start.
        learned: `no`, one for each `tensor` of weights, or one for each `element`.
        per_step: whether each step has its own.
        steps: of the inner loop.
    """

    def __init__(self, adapted: nn.Module, *, rate: float, learned: Learned, per_step: bool, steps: int) -> None:
        super().__init__()
        self.per_step = per_step
        self.names = [name for name, _ in adapted.named_parameters()]
        n = steps if per_step else 1
        self.values = nn.ParameterList(
            nn.Parameter(
                torch.full((n, *weight.shape) if learned == "element" else (n,), rate), requires_grad=learned != "no"
            )
            for weight in adapted.parameters()
        )

    @property
    def fixed(self) -> float | None:
        """The one step size of all, where none is learned."""
        return None if any(value.requires_grad for value in self.values) else float(self.values[0].flatten()[0])

    def at(self, step: int) -> dict[str, Tensor]:
        """Step sizes of a step, counted from 0, by the weights' names; one beyond those learned has the last's."""
        return {name: values[min(step, len(values) - 1)] for name, values in zip(self.names, self.values, strict=True)}
