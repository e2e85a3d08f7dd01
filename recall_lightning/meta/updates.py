"""What gradient steps did to a module, for each user of a batch, without a copy of its weights a user.

A gradient step on a linear layer is a sum of outer products, one a position of the support: `dL/dW = sum_p g_p x_p^T`,
with x the layer's input and g the gradient of its output. The layer with n steps behind it is therefore
`y = W x - sum_p rate_p g_p (x_p . x)`: k vectors a user, not a matrix, and the same function. So it goes for biases,
norms and lag biases. All users of a batch then share one pass through the common weights.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recall_lightning.errors import InputError
from recall_lightning.models.shift import Shift
from recall_lightning.models.user_tower import LagBias, lags


class Update(ABC):
    """The steps taken so far on one module's weights, a different one for each user.

    As a forward hook it adds their effect to the module's output, which is remembered: a step is taken from its
    gradient.

    Args:
        module: whose weights are adapted.
        n_users: users of the batch.

    Raises:
        InputError: at a pass in which the module is called twice, or with something else than a row a user.
    """

    dims = 3  # of the output: (users, positions, out)
    output: Tensor | None = None  # of the pass that a step is to be taken from

    def __init__(self, module: Any, n_users: int) -> None:
        self.module, self.n_users = module, n_users

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        changed = self.changed(inputs[0], output)
        if self.output is not None or changed.dim() != self.dims or len(changed) != self.n_users:
            seen = "twice in one pass" if self.output is not None else f"with an output of {tuple(changed.shape)}"
            raise InputError(
                f"a {type(module).__name__} that is called {seen} can't be adapted for many users at once: it must "
                f"give {self.n_users} users a row each, once. Use model.inner_loop.engine: learn2learn"
            )
        if not changed.requires_grad and torch.is_grad_enabled():
            changed.requires_grad_()  # in serving nothing else does
        self.output = changed
        return changed

    @abstractmethod
    def changed(self, given: Any, output: Tensor) -> Tensor:
        """The output with the users' steps; `given` is the module's input."""

    @abstractmethod
    def step(self, gradient: Tensor, rates: Mapping[str, Tensor]) -> None:
        """Take a step.

        Args:
            gradient: of each user's loss to `output`.
            rates: step size by name of the weight: a scalar, or one an element.
        """


class LinearUpdate(Update):
    """Steps on `nn.Linear`: inputs and gradients of the positions, or a matrix a user where each element has a rate."""

    given: Tensor

    def __init__(self, module: nn.Linear, n_users: int) -> None:
        super().__init__(module, n_users)
        self._met: Tensor | None = None  # the input of the last step
        self.pairs: list[tuple[Tensor, Tensor]] = []  # inputs (users, positions, in), gradients (users, positions, out)
        self.weight: Tensor | None = None  # (users, out, in)
        self.bias: Tensor | None = None  # (users, out)

    def changed(self, given: Tensor, output: Tensor) -> Tensor:
        self.given = given
        for inputs, gradients in self.pairs:
            output = output - torch.bmm(torch.bmm(given, inputs.transpose(1, 2)), gradients)
        if self.weight is not None:
            output = output - torch.bmm(given, self.weight.transpose(1, 2))
        return output if self.bias is None else output - self.bias[:, None]

    def step(self, gradient: Tensor, rates: Mapping[str, Tensor]) -> None:
        rate = rates["weight"]
        inputs = self.given if gradient.requires_grad else self.given.detach()
        if rate.numel() > 1:
            matrix = rate * torch.bmm(gradient.transpose(1, 2), inputs)
            self.weight = matrix if self.weight is None else self.weight + matrix
        elif self.pairs and self._met is self.given:  # nothing below is adapted: the positions are the same ones
            self.pairs[-1] = self.pairs[-1][0], self.pairs[-1][1] + rate * gradient
        else:
            self.pairs.append((inputs, rate * gradient))
        self._met = self.given
        if self.module.bias is not None:
            bias = rates["bias"] * gradient.sum(1)
            self.bias = bias if self.bias is None else self.bias + bias


class ShiftUpdate(Update):
    """Steps on `Shift`: a vector a user."""

    def __init__(self, module: Shift, n_users: int) -> None:
        super().__init__(module, n_users)
        self.values: Tensor | None = None  # (users, dim)

    def changed(self, given: Tensor, output: Tensor) -> Tensor:
        return output.clone() if self.values is None else output - self.values[:, None]

    def step(self, gradient: Tensor, rates: Mapping[str, Tensor]) -> None:
        change = rates["values"] * gradient.sum(1)
        self.values = change if self.values is None else self.values + change


class NormUpdate(Update):
    """Steps on `nn.LayerNorm`: two vectors a user."""

    def __init__(self, module: nn.LayerNorm, n_users: int) -> None:
        super().__init__(module, n_users)
        self.weight: Tensor | None = None  # (users, dim)
        self.bias: Tensor | None = None  # (users, dim)

    def changed(self, given: Tensor, output: Tensor) -> Tensor:
        self.normed = F.layer_norm(given, self.module.normalized_shape, eps=self.module.eps)
        if self.weight is None:
            return output.clone()
        output = output - self.normed * self.weight[:, None]
        return output if self.bias is None else output - self.bias[:, None]

    def step(self, gradient: Tensor, rates: Mapping[str, Tensor]) -> None:
        normed = self.normed if gradient.requires_grad else self.normed.detach()
        weight = rates["weight"] * (gradient * normed).sum(1)
        self.weight = weight if self.weight is None else self.weight + weight
        if self.module.bias is not None:
            bias = rates["bias"] * gradient.sum(1)
            self.bias = bias if self.bias is None else self.bias + bias


class LagUpdate(Update):
    """Steps on `LagBias`: a value a user, head and lag."""

    dims = 4  # (users, heads, positions, positions)

    def __init__(self, module: LagBias, n_users: int) -> None:
        super().__init__(module, n_users)
        self.values: Tensor | None = None  # (users, heads, lags)

    def changed(self, given: int, output: Tensor) -> Tensor:
        self.lags = lags(given, self.module.values.shape[1], output.device)
        if self.values is None:
            return output.expand(self.n_users, *output.shape).clone()
        return output - self.values[:, :, self.lags]

    def step(self, gradient: Tensor, rates: Mapping[str, Tensor]) -> None:
        by_lag = gradient.new_zeros(*gradient.shape[:2], self.module.values.shape[1])
        by_lag = by_lag.index_add(2, self.lags.flatten(), gradient.flatten(2))
        change = rates["values"] * by_lag
        self.values = change if self.values is None else self.values + change


KINDS: dict[type[nn.Module], type[Update]] = {
    nn.Linear: LinearUpdate,
    Shift: ShiftUpdate,
    nn.LayerNorm: NormUpdate,
    LagBias: LagUpdate,
}


class Updates(ExitStack):
    """The updates of all weights of a module, in force inside a `with` block.

    Args:
        module: what is adapted.
        n_users: users of the batch.

    Raises:
        InputError: if a weight is of a module that has no update of its own.
    """

    def __init__(self, module: nn.Module, n_users: int) -> None:
        super().__init__()
        self.by_name: dict[str, Update] = {}
        for name, part in module.named_modules():
            if not list(part.parameters(recurse=False)):
                continue
            kind = next((kind for of, kind in KINDS.items() if type(part) is of), None)
            if kind is None:
                raise InputError(
                    f"weights of a {type(part).__name__} can't be adapted for many users at once: "
                    f"{', '.join(of.__name__ for of in KINDS)} can. Use model.inner_loop.engine: learn2learn"
                )
            self.by_name[name] = kind(part, n_users)

    def __enter__(self) -> Self:
        super().__enter__()
        for update in self.by_name.values():
            self.callback(update.module.register_forward_hook(update).remove)
        return self

    def step(self, losses: Tensor, rates: Mapping[str, Tensor], *, second_order: bool) -> None:
        """Take a gradient step on each user's own loss.

        Args:
            losses: `(users,)`, each made of the last pass of the module.
            rates: step size by the weight's name in the module.
            second_order: whether the step can be differentiated.
        """
        called = {name: update.output for name, update in self.by_name.items() if update.output is not None}
        # the users' vectors are of the same pass, so its graph is kept
        gradients = torch.autograd.grad(
            losses.sum(), list(called.values()), create_graph=second_order, retain_graph=True
        )
        for name, gradient in zip(called, gradients, strict=True):
            update = self.by_name[name]
            prefix = f"{name}." if name else ""
            update.step(gradient, {w: rates[prefix + w] for w, _ in update.module.named_parameters(recurse=False)})
            update.output = None
