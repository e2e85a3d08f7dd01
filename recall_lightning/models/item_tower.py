"""The item tower: text vector, and optionally what its words and the item's own interactions taught."""

import torch
from torch import Tensor, nn

from recall_lightning.recipe import Recipe


class ItemTower(Recipe, nn.Module):
    """Item vector = projected text vector + what its words say + a residual that new items do without.

    Args:
        dim: width of item vectors; None keeps the encoder's width, without a projection.
        residual: whether each item of the training catalogue has a learned vector of its own, added to its text's.
        residual_dropout: share of items that a training step takes for new ones, drawn anew each step: without their
            residual, and where the model has a prior or transitions, as popular as a new item and nothing's successor.
            So text alone stays a good description, and new items' scores are made for standing beside the others'
            (DropoutNet, Volkovs et al., NeurIPS 2017).
        words: pieces of words that at least so many items of the training have get a vector of their own, learned of
            them all, which an item's text adds up (`Words`): what a genre, a brand or a year says, of new items, too,
            without training the encoder. 3 is a good start; None for none.

    Raises:
        ValueError: if a value is out of its range.
    """

    def __init__(
        self, dim: int | None = None, residual: bool = False, residual_dropout: float = 0.3,
        words: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if dim is not None and dim < 1:
            raise ValueError(f"dim is {dim}, but vectors need a width: give 1 or more, or null for the encoder's")
        if not 0 <= residual_dropout < 1:
            raise ValueError(f"residual_dropout is {residual_dropout}: give a share from 0 up to, but below, 1")
        if words is not None and words < 1:
            raise ValueError(f"words is {words}, but a piece is of items: give 1 or more, such as 3, or null for none")
        self.dim, self.has_residual, self.residual_dropout, self.words = dim, residual, residual_dropout, words
        self.projection: nn.Module = nn.Identity()
        self.residual: nn.Parameter | None = None

    def shape(self, text_dim: int, n_items: int) -> None:
        """Make the weights, once the encoder's width and the catalogue's size are known.

        The projection starts as a random rotation (orthonormal rows), which nearly keeps the encoder's similarities;
        residuals start at zero, so that an item begins as its text.
        """
        if self.dim is not None:
            projection = nn.Linear(text_dim, self.dim, bias=False)
            nn.init.orthogonal_(projection.weight)
            self.projection = projection
        self.dim = self.dim or text_dim
        if self.has_residual:
            self.residual = nn.Parameter(torch.zeros(n_items, self.dim))

    def forward(self, text_vectors: Tensor, rows: Tensor, words: Tensor | None = None) -> Tensor:
        """Item vectors.

        Args:
            text_vectors: `(items, text_dim)` float.
            rows: `(items,)` int64 rows of the training catalogue, -1 for an item that was not in it, or that `drop`
                takes for such.
            words: `(items, dim)` float of `Words`; None for a tower without.

        Returns:
            `(items, dim)` float.
        """
        vectors = self.of_texts(text_vectors, words)
        if self.residual is None:
            return vectors
        return vectors + self.residual[rows.clamp(min=0)] * (rows >= 0)[:, None]

    def of_texts(self, text_vectors: Tensor, words: Tensor | None = None) -> Tensor:
        """`(items, dim)` float: what `forward` gives items that the training catalogue doesn't hold."""
        vectors: Tensor = self.projection(text_vectors)
        return vectors if words is None else vectors + words

    def drop(self, rows: Tensor) -> Tensor:
        """Rows `(items,)`, in training with -1 for the share of items that this step takes for new ones."""
        if not self.training or self.residual_dropout == 0:
            return rows
        kept = torch.rand(rows.shape, device=rows.device) >= self.residual_dropout
        return torch.where(kept, rows, -1)
