"""Words: what the words of a text say of an item, whatever the encoder makes of the whole."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recall_lightning.errors import InputError


class Spelling(NamedTuple):
    """Which pieces of words texts have.

    Attributes:
        texts: `(n,)` int64, ascending: a text for each different piece of it.
        pieces: `(n,)` int64, that piece.
        n_texts: how many texts there are.
    """

    texts: Tensor
    pieces: Tensor
    n_texts: int


class Bags(NamedTuple):
    """The different known pieces of texts, text after text.

    Attributes:
        pieces: `(pieces of all texts,)` int64 rows of `Words.vectors`.
        starts: `(texts,)` int64, where each begins.
        lengths: `(texts,)` int64, how many each has.
        shares: `(pieces of all texts,)` float32, what each counts for: `1 / sqrt(n)` of a text's n.
    """

    pieces: Tensor
    starts: Tensor
    lengths: Tensor
    shares: Tensor

    def select(self, rows: Tensor) -> "Bags":
        """Those of texts `(n,)` int64."""
        lengths = self.lengths[rows]
        starts = lengths.cumsum(0) - lengths
        moved = torch.repeat_interleave(self.starts[rows] - starts, lengths)
        places = torch.arange(len(moved), device=rows.device) + moved
        return Bags(self.pieces[places], starts, lengths, self.shares[places])


class Words(nn.Module):
    """A learned vector of each piece of a word that several items share, summed over an item's text.

    `w = sum_t e_t / sqrt(n)` over the n different pieces of a text that have one: items by their features, as of
    LightFM (Kula, CBRecSys 2015). A text that training never saw has the vectors of its pieces, too. A piece of few
    items is left out: it would learn what only they are like, and tell new ones nothing. All start at zero.

    Args:
        spelling: of the training catalogue's texts.
        counts: `(items,)` int64 training interactions; an item without any is none that shares a piece.
        least: so many items have a piece that gets a vector.
        vocabulary: tokens that there are.
        dim: width of the vectors.
    """

    places: Tensor
    known: Tensor

    def __init__(self, spelling: Spelling, counts: Tensor, least: int, vocabulary: int, dim: int) -> None:
        super().__init__()
        trained = counts[spelling.texts] > 0
        known = (torch.bincount(spelling.pieces[trained], minlength=vocabulary) >= least).nonzero().flatten()
        places = torch.full((vocabulary,), -1)
        places[known] = torch.arange(len(known))
        self.vectors = nn.Parameter(torch.zeros(len(known), dim))
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("known", known)
        for name, part in zip(Bags._fields, self.bags(spelling), strict=True):
            self.register_buffer(f"_{name}", part, persistent=False)

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self.vectors.shape[1]

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Of the training catalogue's texts.

        Args:
            rows: `(items,)` int64, which of them; None for all.

        Returns:
            `(items, dim)` float.
        """
        bags = Bags(*(getattr(self, f"_{name}") for name in Bags._fields))
        return self.of_bags(bags if rows is None else bags.select(rows))

    def bags(self, spelling: Spelling) -> Bags:
        """Look the pieces of texts up."""
        places = self.places[spelling.pieces.to(self.places.device)]
        texts, places = spelling.texts.to(places.device)[places >= 0], places[places >= 0]
        lengths = torch.bincount(texts, minlength=spelling.n_texts)
        return Bags(places, lengths.cumsum(0) - lengths, lengths, lengths[texts].to(self.vectors.dtype).rsqrt())

    def of_bags(self, bags: Bags) -> Tensor:
        """`(texts, dim)` float; zeros for a text without any known piece."""
        if not len(bags.pieces):
            return self.vectors.new_zeros(len(bags.starts), self.dim) + self.vectors.sum() * 0
        return F.embedding_bag(bags.pieces, self.vectors, bags.starts, mode="sum", per_sample_weights=bags.shares)

    def of_tokens(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The part of each token in what `of_bags` gives, as plain operations that a graph can hold.

        Args:
            ids: `(texts, tokens)` int64, special tokens with them.
            mask: `(texts, tokens)` bool, False on the filling.

        Returns:
            `(texts, tokens, dim)` float, whose sum over the tokens is a text's vector.
        """
        if not len(self.vectors):
            return self.vectors.new_zeros(*ids.shape, self.dim)
        places = torch.where(mask, self.places[ids], -1)
        ordered, order = places.sort(dim=1)
        # the first of its kind, of which -1 is the least
        first = torch.cat([ordered[:, :1] >= 0, ordered[:, 1:] > ordered[:, :-1]], 1).to(self.vectors.dtype)
        counted = torch.zeros_like(first).scatter(1, order, first)
        shares = counted / counted.sum(1, keepdim=True).clamp(min=1).sqrt()
        return self.vectors[places.clamp(min=0)] * shares[..., None]

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *more: Any) -> None:
        given = state.get(f"{prefix}known")
        if given is not None and not given.cpu().equal(self.known.cpu()):
            raise InputError(
                "the checkpoint's words (model.item_tower.init_args.words) are not those of the data's texts: these "
                "or the training part were changed since. Go on with the data that it was trained with, or train anew"
            )
        super()._load_from_state_dict(state, prefix, *more)

    @torch.no_grad()
    def take_over(self, start: "Words") -> None:
        """Take the vectors of the pieces that another one of the same vocabulary and width knows."""
        theirs = start.places[self.known]
        self.vectors[theirs >= 0] = start.vectors[theirs[theirs >= 0]]
