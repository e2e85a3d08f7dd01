"""Encoding a whole catalogue."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from recall_lightning.data.ragged import Ints
from recall_lightning.data.tokens import Tokens

FILLING = 0.05  # most of a batch's tokens that only fill; with less, batches of few texts grow too small
TOKENS_AT_ONCE = {"cpu": 2**11}  # what lies in a core's cache meanwhile; 2^14 were half as fast
MANY_TOKENS = 2**17  # of other devices, which many texts keep busy


class Encoder(Protocol):
    """What makes text vectors of tokens: `TextEncoder`, or one of `retrieval.back_ends`."""

    @property
    def dim(self) -> int:
        """Width of the vectors."""

    def __call__(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """`(texts, dim)` float32 of `ids` and `mask` `(texts, tokens)`; no mask where nothing is filled."""


@torch.no_grad()
def encode_texts(
    encoder: Encoder, tokens: Tokens, device: torch.device, *, tokens_at_once: int | None = None,
    lengths: Ints | None = None,
) -> Tensor:  # fmt: skip
    """Encode texts in the order of their length, which spares nearly all filling; without dropout.

    Args:
        encoder: on `device`; its training mode is left as it was.
        tokens: of the texts.
        device: where to compute.
        tokens_at_once: as of `encoded_batches`.
        lengths: as of `encoded_batches`.

    Returns:
        `(texts, dim)` float32 in the texts' order.
    """
    rows = np.arange(len(tokens.lengths))
    vectors = torch.empty(len(rows), encoder.dim, device=device)
    for part, made in encoded_batches(encoder, tokens, rows, device, tokens_at_once=tokens_at_once, lengths=lengths):
        vectors[torch.from_numpy(part).to(device)] = made
    return vectors


@torch.no_grad()
def encoded_batches(
    encoder: Encoder, tokens: Tokens, rows: Ints, device: torch.device, *, tokens_at_once: int | None = None,
    lengths: Ints | None = None,
) -> Iterator[tuple[Ints, Tensor]]:  # fmt: skip
    """Encode some of the texts batch by batch, the shortest first.

    Args:
        encoder: as of `encode_texts`.
        tokens: of all texts.
        rows: which of them to encode.
        device: where to compute.
        tokens_at_once: most tokens a batch, or one text; by default what suits the device.
        lengths: `(all texts,)` that batches are cut by, at least the texts' own: equal ones make equally many batches
            in several processes, which those that share an encoder's layers need. None for the texts' own.

    Yields:
        Rows `(batch,)` and their vectors `(batch, dim)` float32, on `device`.
    """
    budget = tokens_at_once or tokens_for(device)
    lengths = tokens.lengths if lengths is None else lengths
    order = rows[lengths[rows].argsort(kind="stable")]
    with evaluating(encoder):
        for start, stop in batches_of(lengths[order], budget):
            own = tokens.lengths[order[start:stop]]
            batch = tokens.batch(order[start:stop], max_buckets=1).to(device)
            filled = own.min() < own.max()
            yield order[start:stop], encoder(batch.ids, batch.mask if filled else None)


def tokens_for(device: torch.device) -> int:
    """Tokens a batch that suit a device."""
    return TOKENS_AT_ONCE.get(device.type, MANY_TOKENS)


def batches_of(lengths: Ints, budget: int) -> list[tuple[int, int]]:
    """Cut texts, sorted by length, into batches of few tokens that only fill.

    Args:
        lengths: `(texts,)` ascending.
        budget: most tokens a batch, filling included; a longer text stands alone.

    Returns:
        Spans `(start, stop)` that cover all texts. A batch of half the budget ends where lengths change, any other goes
        on while filling stays below `FILLING`.
    """
    spans, start, real, last = [], 0, 0, 0
    for at, length in enumerate(lengths.tolist()):
        padded = (at + 1 - start) * length
        full = padded > budget
        grown = length > last and (real >= budget / 2 or padded - real - length > FILLING * padded)
        if at > start and (full or grown):
            spans.append((start, at))
            start, real = at, 0
        real, last = real + length, length
    return [*spans, (start, len(lengths))] if len(lengths) else []


@contextmanager
def evaluating(encoder: Encoder) -> Iterator[None]:
    """Have an encoder without dropout meanwhile; its training mode is then as it was."""
    if not isinstance(encoder, nn.Module):  # a back end, which has no training mode
        yield
        return
    training = encoder.training
    encoder.eval()
    try:
        yield
    finally:
        encoder.train(training)
