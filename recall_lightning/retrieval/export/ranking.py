"""Vectors whose inner product is a model's score, so that any program can rank by them.

A model's own vectors are what its towers give and read. Its similarity makes ranking vectors of them (`factors`): for a
cosine both are scaled to length 1, for a Euclidean distance two coordinates come behind them, and with a prior the last
coordinates are an item's popularity, and a user's weights of it.
"""

from dataclasses import dataclass

from torch import Tensor

from recall_lightning.models.prior import PlusPrior
from recall_lightning.models.similarity import Cosine, Dot, Euclidean, Similarity
from recall_lightning.retrieval.recommender import Recommender

NAMES = {Cosine: "cosine", Dot: "dot", Euclidean: "euclidean"}


@dataclass(frozen=True)
class RankedItems:
    """The items that a recommender ranks.

    Attributes:
        ids: `(items,)`.
        titles: `(items,)`.
        item_vectors: `(items, dim)` float32 on the CPU, the model's own.
        vectors: `(items, width)` float32 on the CPU, to rank by.
    """

    ids: list[str]
    titles: list[str]
    item_vectors: Tensor
    vectors: Tensor

    @classmethod
    def of(cls, recommender: Recommender) -> "RankedItems":
        n, pool = recommender.n_ranked, recommender.pool
        own = recommender.vectors[:n].float().cpu().contiguous()
        vectors = items_to_rank(recommender.module.loss.similarity, own).contiguous()
        return cls(pool.ids[:n], pool.titles[:n], own, vectors)


def items_to_rank(similarity: Similarity, items: Tensor) -> Tensor:
    """`(items, width)` float of the model's item vectors `(items, dim)`."""
    return similarity.factors(items[:1], items)[1]


def users_to_rank(similarity: Similarity, users: Tensor) -> Tensor:
    """`(users, width)` float of the model's user vectors `(users, dim)`."""
    return similarity.factors(users, users[:1])[0]


def similarity_of_texts(similarity: Similarity) -> str | None:
    """The name of the similarity without a prior; None for one that isn't of this package."""
    bare = similarity.similarity if isinstance(similarity, PlusPrior) else similarity
    return NAMES.get(type(bare))


def left_out(recommender: Recommender) -> str | None:
    """What of the model's scores no vector holds, as a line for the user; None for nothing."""
    model = recommender.module.model
    parts = [*model.counted, *(["new_boost"] if model.new_boost else [])]
    if not parts:
        return None
    return (
        f"model.{' and model.'.join(parts)}: no part of any vector, so ranking by the export leaves out what "
        "`recommend` adds by it"
    )
