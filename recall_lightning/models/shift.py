"""Shift: adds one learned vector, the plainest thing a user can have of their own."""

import torch
from torch import Tensor, nn


class Shift(nn.Module):
    """`y = x + values`, with values `(dim,)` that start at zero.

    Args:
        dim: width.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(dim))

    def forward(self, vectors: Tensor) -> Tensor:
        """`(..., dim)` to `(..., dim)`."""
        return vectors + self.values
