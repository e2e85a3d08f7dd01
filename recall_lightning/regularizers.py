"""R(f): what the recall loss charges for, beside the likelihood."""

import fnmatch
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from recall_lightning.errors import InputError
from recall_lightning.models.similarity import Cosine
from recall_lightning.recipe import Recipe


class Regularizer(Recipe, nn.Module):
    """Base: `weight * R`, added to the loss.

    Args:
        weight: the article's lambda.

    Raises:
        ValueError: if the weight is negative.
    """

    def __init__(self, weight: float) -> None:
        super().__init__()
        if not weight >= 0:
            raise ValueError(f"weight is {weight}: a penalty needs a number from 0 up")
        self.weight = weight

    def forward(self, items: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """Args:
        items: `(candidates, dim)` float.
        parameters: named weights of the module.
        """
        return self.weight * self.penalty(items, parameters)

    @abstractmethod
    def penalty(self, items: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """R, a scalar."""


class L2(Regularizer):
    """Half the squared length of chosen weights.

    Meant for weights that the optimizer does not decay already, and that set the scale of nothing that is normalised
    afterwards: residuals, above all.

    Args:
        weight: lambda.
        names: patterns of the weights' names, as in a shell: `*.residual`. Biases and norms' weights never count.
    """

    def __init__(self, weight: float, names: Sequence[str] = ("*residual",)) -> None:
        super().__init__(weight)
        self.names = list(names)

    def penalty(self, items: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        chosen = select(parameters, self.names)
        return 0.5 * torch.stack([p.square().sum() for p in chosen.values()]).sum()


class L2SP(Regularizer):
    """Half the squared distance of chosen weights from where they started (L2-SP, Li et al., ICML 2018).

    Args:
        weight: lambda.
        names: patterns of the weights' names; the encoder's by default.
    """

    def __init__(self, weight: float, names: Sequence[str] = ("model.encoder.*",)) -> None:
        super().__init__(weight)
        self.names = list(names)
        self._start: dict[str, Tensor] = {}

    def remember(self, parameters: Mapping[str, Tensor]) -> None:
        """Take the present weights for the start; they come back from a checkpoint after a resume."""
        self._start = {name: p.detach().clone() for name, p in select(parameters, self.names).items()}

    def get_extra_state(self) -> dict[str, Tensor]:
        return self._start

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        self._start = state

    def penalty(self, items: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        if not self._start:
            self.remember(parameters)
        chosen = select(parameters, self.names)
        # a resumed run read them from a file: moved once, not in every step
        self._start = {name: self._start[name].to(p.device) for name, p in chosen.items()}
        return 0.5 * torch.stack([(p - self._start[name]).square().sum() for name, p in chosen.items()]).sum()


class Uniformity(Regularizer):
    """How unevenly item vectors lie on the sphere (Wang and Isola, ICML 2020).

    `log mean_{i != j} exp(-2 |v_i - v_j|^2)` of the normalised vectors: 0 where all are equal, down to -8 for opposite
    pairs.

    Args:
        weight: lambda.
    """

    def penalty(self, items: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        n = len(items)
        if n < 2:
            return items.sum() * 0.0
        potential = (4 * Cosine()(items, items) - 4).fill_diagonal_(float("-inf"))  # -2 |a - b|^2 = 4 ab - 4
        return potential.flatten().logsumexp(0) - math.log(n * (n - 1))


def select(parameters: Mapping[str, Tensor], patterns: Sequence[str]) -> dict[str, Tensor]:
    """The trained weights whose names match a pattern, without biases and norms (weights of one dimension).

    Raises:
        InputError: if a pattern matches none.
    """
    trained = {name: p for name, p in parameters.items() if p.requires_grad and p.dim() > 1}
    matches = {pattern: fnmatch.filter(trained, pattern) for pattern in patterns}
    for pattern, names in matches.items():
        if not names:
            raise InputError(
                f"model.loss, a regularizer's names: '{pattern}' matches no trained matrix: use patterns such as "
                "'*residual' (with model.item_tower.init_args.residual: true) or 'model.encoder.*'"
            )
    return {name: trained[name] for names in matches.values() for name in names}
