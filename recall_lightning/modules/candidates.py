"""What a training step tells a target apart from."""

from typing import NamedTuple

import torch
from torch import Tensor

from recall_lightning.data.batches import TrainBatch
from recall_lightning.models.recall_model import RecallModel
from recall_lightning.models.scoring import members


class StepItems(NamedTuple):
    """The candidates of a step.

    Attributes:
        vectors: `(candidates, dim)` float.
        rows: `(candidates,)` int64 rows of the training's items, -1 for new ones and those that this step takes for
            such.
        of_batch: `(distinct,)` int64: where the batch's items stand among them; None: in their order.
    """

    vectors: Tensor
    rows: Tensor
    of_batch: Tensor | None


def step_items(model: RecallModel, batch: TrainBatch, *, whole: bool, keep: bool) -> StepItems:
    """Make the candidates' vectors, a share of them taken for new items.

    Args:
        model: encodes the first `n_encoded` items of the batch with gradient; the others come from its cache.
        batch: the step's items.
        whole: whether the whole catalogue that may be trained on is a candidate, or the batch's items alone.
        keep: whether the cache keeps what is encoded.
    """
    encoded, rest = batch.items[: batch.n_encoded], batch.items[batch.n_encoded :]
    if model.encoder.trained:
        fresh = model.encoder.encode(batch.tokens.ids, batch.tokens.mask, batch.tokens.buckets)
        if keep:
            model.cache.write(encoded, fresh)
        if batch.shares is not None:
            fresh = fresh.detach().lerp(fresh, batch.shares[:, None])  # the same vectors, a share of the gradient
    else:
        fresh = model.cache.vectors[encoded]
    if whole:
        texts, rows = model.cache.read_with(encoded, fresh), model.rows
        of_batch = batch.items
        if batch.trainable is not None:
            texts, rows = texts[batch.trainable], rows[batch.trainable]
            of_batch = torch.searchsorted(batch.trainable, batch.items)
    else:
        texts, rows = torch.cat([fresh, model.cache.vectors[rest].to(fresh.dtype)]), model.rows[batch.items]
        of_batch = None
    rows = model.item_tower.drop(rows)
    return StepItems(model.item_tower(texts, rows), rows, of_batch)


def known_candidates(batch: TrainBatch, n_items: int, *, whole: bool) -> Tensor:
    """`(batch, candidates)` bool: the users' positives among the candidates; arguments as of `step_items`."""
    known = members(batch.known, n_items)
    if whole:
        return known if batch.trainable is None else known[:, batch.trainable]
    return known[:, batch.items]


def placed(local: Tensor, rows: Tensor | None) -> Tensor:
    """Rows of a batch's items, as rows of the candidates; -1 stays."""
    return local if rows is None else torch.where(local >= 0, rows[local.clamp(min=0)], -1)
