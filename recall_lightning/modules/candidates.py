"""What a training step tells a target apart from."""

from typing import NamedTuple

import torch
from torch import Tensor

from recall_lightning.data.batches import TrainBatch
from recall_lightning.models.recall_model import RecallModel
from recall_lightning.models.scoring import members
from recall_lightning.modules.joined import BatchItems, Gather, joined


class StepItems(NamedTuple):
    """The candidates of a step.

    Attributes:
        vectors: `(candidates, dim)` float.
        rows: `(candidates,)` int64 rows of the training's items, -1 for new ones and those that this step takes for
            such.
        items: `(candidates,)` int64 catalogue rows.
        of_batch: `(distinct,)` int64: where the batch's items stand among them.
        log_q: `(candidates,)` float32 as of `TrainBatch`; None where every candidate is always there.
    """

    vectors: Tensor
    rows: Tensor
    items: Tensor
    of_batch: Tensor
    log_q: Tensor | None


def step_items(
    model: RecallModel, batch: TrainBatch, *, whole: bool, keep: bool, gather: Gather | None = None
) -> StepItems:
    """Make the candidates' vectors, a share of them taken for new items.

    Args:
        model: encodes the first `n_encoded` items of the batch with gradient; the others come from its cache.
        batch: the step's items.
        whole: whether the whole catalogue that may be trained on is a candidate, or the batch's items alone.
        keep: whether the cache keeps what is encoded.
        gather: of several processes, whose items are all the step's; None for one process.
    """
    own = BatchItems(batch.items[: batch.n_encoded], _fresh(model, batch), batch.items[batch.n_encoded :], batch.log_q)
    if gather is not None and (model.encoder.trained or not whole):
        own = joined(own.as_none() if batch.stands_in else own, gather)
    if keep and model.encoder.trained:
        model.cache.write(own.encoded, own.fresh)
    if whole:
        texts = model.cache.read_with(own.encoded, own.fresh)
        every = torch.arange(model.n_items, device=texts.device)
        items = every if batch.trainable is None else batch.trainable
        texts = texts if batch.trainable is None else texts[items]
    else:
        items = torch.cat([own.encoded, own.rest])
        texts = torch.cat([own.fresh, model.cache.vectors[own.rest].to(own.fresh.dtype)])
    places = torch.arange(len(items), device=items.device)
    place = torch.full((model.n_items,), -1, device=items.device).scatter(0, items, places)
    rows = model.item_tower.drop(model.rows[items])
    # of the candidates alone: what held-out items are called is in no sum, not even as a zero
    words = None if model.words is None else model.words(None if whole and batch.trainable is None else items)
    vectors = model.item_tower(texts, rows, words)
    return StepItems(vectors, rows, items, place[batch.items], None if whole else own.log_q)


def _fresh(model: RecallModel, batch: TrainBatch) -> Tensor:
    """`(n_encoded, text_dim)` float: the text vectors of the batch's first items."""
    if not model.encoder.trained:
        return model.cache.vectors[batch.items[: batch.n_encoded]]
    if model.lower is None:
        fresh = model.encoder.encode(batch.tokens.ids, batch.tokens.mask, batch.tokens.buckets)
    else:
        fresh = model.encoder.encode_above(model.lower, batch.items[: batch.n_encoded], batch.tokens.mask)
    if batch.shares is not None:
        fresh = fresh.detach().lerp(fresh, batch.shares[:, None])  # the same vectors, a share of the gradient
    return fresh


def known_candidates(batch: TrainBatch, n_items: int, items: Tensor) -> Tensor:
    """`(batch, candidates)` bool: the users' positives among the candidates, `(candidates,)` int64 catalogue rows."""
    return members(batch.known, n_items)[:, items]


def placed(local: Tensor, rows: Tensor) -> Tensor:
    """Rows of a batch's items, as rows of the candidates; -1 stays."""
    return torch.where(local >= 0, rows[local.clamp(min=0)], -1)
