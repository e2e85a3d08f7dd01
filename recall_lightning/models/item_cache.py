"""The vectors that the encoder last gave the catalogue's texts."""

import torch
from torch import Tensor, nn


class ItemCache(nn.Module):
    """Text vectors of all items, kept while the encoder is trained on a few of them a step.

    A step encodes some items with gradient and takes the others from here; a vector is then as old as the item's last
    encoding (Zhang et al., "Training Large-Scale News Recommenders with Pretrained Language Models in the Loop", KDD
    2022).

    Attributes:
        vectors: `(items, text_dim)` float; not part of the weights.
        made_at: int64, the step of the training by whose weights all of them were last made; -1 for none. A buffer, so
            that it goes with the vectors where a callback changes weights for averaged ones.
    """

    vectors: Tensor
    made_at: Tensor

    def __init__(self, n_items: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(n_items, dim), persistent=False)
        self.register_buffer("made_at", torch.tensor(-1), persistent=False)

    @torch.no_grad()
    def write(self, rows: Tensor, vectors: Tensor) -> None:
        """Keep new vectors `(n, text_dim)` of the items `rows` `(n,)`."""
        self.vectors[rows] = vectors.detach().to(self.vectors.dtype)

    def read_with(self, rows: Tensor, fresh: Tensor) -> Tensor:
        """All vectors `(items, text_dim)`, with those of `rows` replaced by `fresh`, through which gradient flows."""
        return self.vectors.index_put((rows,), fresh.to(self.vectors.dtype))
