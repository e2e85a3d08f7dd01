"""Texts one after the other, without filling: how an encoder's layers read them with `attention: packed`.

All tokens of a step are then one row of a single text for the layers' matrix products, norms and activations, and only
attention looks at each text by itself: texts of one length at a time, which need neither filling nor a mask.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface, AttentionMaskInterface, PretrainedConfig

from recall_lightning.errors import InputError

PACKED = "packed"
FROM_ZERO = {"bert", "electra", "distilbert"}  # what they count positions from
AFTER_PADDING = {"roberta", "xlm-roberta", "camembert"}

Runs = tuple[tuple[int, int], ...]


class Packing(NamedTuple):
    """Where the tokens of texts stand, and how to find the texts again.

    Attributes:
        tokens: `(all tokens,)` int64 places in `(texts, tokens)`, flattened; text after text, the shortest first.
        positions: `(all tokens,)` int64 places in their own text, from 0.
        runs: `(texts, length)` of each length that occurs, ascending.
        texts: `(texts,)` int64 rows of the texts in that order.
    """

    tokens: Tensor
    positions: Tensor
    runs: Runs
    texts: Tensor


def packing(mask: Tensor) -> Packing:
    """How to pack texts.

    Args:
        mask: `(texts, tokens)` bool, False on the filling, which stands at the right.
    """
    lengths, texts = mask.sum(1).sort(stable=True)
    counts = torch.bincount(lengths)
    values = counts.nonzero().flatten()
    rows, positions = mask[texts].nonzero(as_tuple=True)
    runs = tuple(zip(counts[values].tolist(), values.tolist(), strict=True))
    return Packing(texts[rows] * mask.shape[1] + positions, positions, runs, texts)


class Lower(NamedTuple):
    """What an encoder's frozen layers make of texts, to be made once where they draw no dropout.

    Attributes:
        hidden: `(all tokens, dim)` float32, text after text.
        starts: `(texts,)` int64, where each begins.
    """

    hidden: Tensor
    starts: Tensor

    def places(self, rows: Tensor, packed: Packing, width: int) -> Tensor:
        """`(all tokens,)` int64 rows of `hidden` of the tokens of texts `rows` `(n,)`, packed from so wide a mask."""
        return self.starts[rows[packed.tokens // width]] + packed.positions


def unpacked(hidden: Tensor, packed: Packing, shape: torch.Size) -> Tensor:
    """`(texts, tokens, dim)`, zeros on the filling, of `(all tokens, dim)`; `shape` is that of the mask."""
    filled = hidden.new_zeros(shape.numel(), hidden.shape[-1]).index_copy(0, packed.tokens, hidden)
    return filled.view(*shape, hidden.shape[-1])


def pooled(hidden: Tensor, packed: Packing, *, first: bool) -> Tensor:
    """The vectors of texts.

    Args:
        hidden: `(all tokens, dim)`.
        packed: of the texts.
        first: whether a text's vector is its first token's, or the mean of all; zeros for a text without tokens.

    Returns:
        `(texts, dim)` float32.
    """
    dim = hidden.shape[-1]
    made = [hidden.new_zeros(0, dim, dtype=torch.float32)]
    parts = torch.split(hidden, [n * length for n, length in packed.runs])
    for (n, length), run in zip(packed.runs, parts, strict=True):
        texts = run.view(n, length, dim)
        if length == 0:
            made.append(hidden.new_zeros(n, dim, dtype=torch.float32))
        else:
            made.append(texts[:, 0].float() if first else texts.sum(1).float() / length)
    vectors = torch.cat(made)
    return torch.empty_like(vectors).index_copy(0, packed.texts, vectors)


def first_position(config: PretrainedConfig) -> int:
    """The position of a text's first token.

    Raises:
        InputError: if texts can't be packed for such a model: its attention, or its positions, are of another kind.
    """
    if config.model_type in FROM_ZERO:
        return 0
    if config.model_type in AFTER_PADDING:
        return int(config.pad_token_id or 0) + 1
    raise InputError(
        f"model.encoder.attention is {PACKED}, which is known to be exact for {', '.join(sorted(FROM_ZERO))}, "
        f"{', '.join(sorted(AFTER_PADDING))}, but not for {config.model_type}: give sdpa or eager"
    )


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, *, scaling: float,
    dropout: float = 0.0, runs: Runs, **_: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """What transformers calls in each layer: `(1, heads, tokens, width)` each, to `(1, tokens, heads, width)`."""
    parts = (part[0].transpose(0, 1) for part in (query, key, value))
    mixed: Tensor = _Attention.apply(*parts, scaling, dropout, runs)
    return mixed[None], None


class _Attention(torch.autograd.Function):
    """`softmax(q k' * scaling) v` of each text and head, in float32 between the products.

    As plain operations a softmax over rows as short as a title takes several times as long: ATen starts anew in each.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, scaling: float, dropout: float, runs: Runs
    ) -> Tensor:
        mixed = torch.empty_like(query)
        wide = torch.promote_types(query.dtype, torch.float32)
        saved: list[Tensor] = []
        start = 0
        for n, length in runs:
            stop = start + n * length
            if length == 0:
                continue
            q, k, v = (_by_head(part[start:stop], n) for part in (query, key, value))
            shares = torch.bmm(q, k.transpose(1, 2)).to(wide)
            shares.sub_(shares.amax(-1, keepdim=True)).mul_(scaling).exp_()
            shares = shares.div_(shares.sum(-1, keepdim=True)).to(query.dtype)
            kept = _kept(shares, dropout) if dropout else None
            _by_text(mixed[start:stop], n).copy_(
                torch.bmm(shares if kept is None else shares * kept, v).view(n, -1, length, v.shape[-1])
            )
            saved += [q, k, v, shares] if kept is None else [q, k, v, shares, kept]
            start = stop
        ctx.save_for_backward(*saved)
        ctx.scaling, ctx.runs, ctx.n_saved = scaling, runs, 5 if dropout else 4
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        of_query, of_key, of_value = (torch.empty_like(gradient) for _ in range(3))
        wide = torch.promote_types(gradient.dtype, torch.float32)
        saved = iter(ctx.saved_tensors)
        start = 0
        for n, length in ctx.runs:
            stop = start + n * length
            if length == 0:
                continue
            q, k, v, shares, *dropped = (next(saved) for _ in range(ctx.n_saved))
            given = _by_head(gradient[start:stop], n)
            slope = torch.bmm(given, v.transpose(1, 2))
            used = shares
            if dropped:
                (kept,) = dropped
                slope, used = slope * kept, shares * kept
            share, slope = shares.to(wide), slope.to(wide)
            slope = slope.sub_((slope * share).sum(-1, keepdim=True)).mul_(share).mul_(ctx.scaling).to(q.dtype)
            made = (torch.bmm(slope, k), torch.bmm(slope.transpose(1, 2), q), torch.bmm(used.transpose(1, 2), given))
            for whole, part in zip((of_query, of_key, of_value), made, strict=True):
                _by_text(whole[start:stop], n).copy_(part.view(n, -1, length, part.shape[-1]))
            start = stop
        return of_query, of_key, of_value, None, None, None


def _kept(shares: Tensor, dropout: float) -> Tensor:
    """What shares are multiplied by under dropout: 0, or 1 / (1 - the rate), a rate in steps of 1 / 65,536.

    Four draws are made of one random number, since those take most of the time that dropout does on a CPU.
    """
    rate = round(dropout * 2**16)
    numbers = torch.empty(-(-shares.numel() // 4), dtype=torch.int64, device=shares.device).random_(-(2**63), None)
    drawn = numbers.view(torch.int16)[: shares.numel()].view(shares.shape)
    return (drawn >= rate - 2**15).to(shares.dtype).mul_(2**16 / (2**16 - rate))


def _by_text(tokens: Tensor, n: int) -> Tensor:
    """`(n, heads, length, width)`, a view of the `(n * length, heads, width)` of n texts."""
    return tokens.view(n, -1, *tokens.shape[1:]).transpose(1, 2)


def _by_head(tokens: Tensor, n: int) -> Tensor:
    """`(n * heads, length, width)`, a copy of the `(n * length, heads, width)` of n texts."""
    return _by_text(tokens, n).flatten(0, 1)


AttentionInterface.register(PACKED, _attention)
AttentionMaskInterface.register(PACKED, lambda *_, **__: None)
