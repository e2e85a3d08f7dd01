"""What a training step tells a target apart from."""

import torch
from torch import Tensor

from recall_lightning.data.batches import TrainBatch
from recall_lightning.models.recall_model import RecallModel
from recall_lightning.models.scoring import members


def step_items(model: RecallModel, batch: TrainBatch, *, whole: bool, keep: bool) -> tuple[Tensor, Tensor | None]:
    """Vectors of the candidates, and where the batch's items stand among them.

    Args:
        model: encodes the first `n_encoded` items of the batch with gradient; the others come from its cache.
        batch: the step's items.
        whole: whether the whole catalogue that may be trained on is a candidate, or the batch's items alone.
        keep: whether the cache keeps what is encoded.

    Returns:
        `(candidates, dim)` float, and `(distinct,)` int64 rows of the batch's items in it (None: in their order).
    """
    encoded, rest = batch.items[: batch.n_encoded], batch.items[batch.n_encoded :]
    if model.encoder.trained:
        fresh = model.encoder.encode(batch.tokens.ids, batch.tokens.mask, batch.tokens.buckets)
        if keep:
            model.cache.write(encoded, fresh)
    else:
        fresh = model.cache.vectors[encoded]
    if whole:
        vectors = model.cache.read_with(encoded, fresh)
        if batch.trainable is None:
            return model.item_tower(vectors, torch.arange(model.n_items, device=fresh.device)), batch.items
        candidates = model.item_tower(vectors[batch.trainable], batch.trainable)
        return candidates, torch.searchsorted(batch.trainable, batch.items)
    vectors = torch.cat([fresh, model.cache.vectors[rest].to(fresh.dtype)])
    return model.item_tower(vectors, batch.items), None


def known_candidates(batch: TrainBatch, n_items: int, *, whole: bool) -> Tensor:
    """`(batch, candidates)` bool: the users' positives among the candidates; arguments as of `step_items`."""
    known = members(batch.known, n_items)
    if whole:
        return known if batch.trainable is None else known[:, batch.trainable]
    return known[:, batch.items]


def placed(local: Tensor, rows: Tensor | None) -> Tensor:
    """Rows of a batch's items, as rows of the candidates; -1 stays."""
    return local if rows is None else torch.where(local >= 0, rows[local.clamp(min=0)], -1)
