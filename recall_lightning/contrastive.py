"""The contrastive loss of two views of the same texts, and what it is made of."""

import torch
from torch import Tensor

from recall_lightning.models.similarity import Cosine
from recall_lightning.softmax import softmax_loss


def contrastive_loss(one: Tensor, other: Tensor, alike: Tensor, *, temperature: float) -> Tensor:
    """Tell each text's other view from those of the batch's other texts (SimCSE, Gao et al., EMNLP 2021).

    `loss = -mean_i log exp(s(u_i, v_i) / t) / sum_j exp(s(u_i, v_j) / t)` with the cosine s; j is i itself, and all
    whose text isn't that of i.

    Args:
        one: `(texts, dim)` float, u: vectors under one draw of dropout.
        other: `(texts, dim)` float, v: of the same texts under another.
        alike: `(texts,)` int64, the same number for texts that are equal: they are no negatives of each other.
        temperature: t.

    Returns:
        A scalar; 0 where there is no negative.
    """
    left, right = Cosine().factors(one, other)
    own = torch.arange(len(one), device=one.device)
    total = softmax_loss(left[:, None] / temperature, right, own[:, None, None], alike[:, None] == alike)
    return total / max(len(one), 1)


def alignment(one: Tensor, other: Tensor) -> Tensor:
    """Mean squared distance of two views `(texts, dim)` on the sphere, 0 to 4 (Wang and Isola, ICML 2020)."""
    return (2 - 2 * Cosine().pairs(one, other)).mean()
