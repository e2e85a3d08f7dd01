"""Tokens of all texts as one ragged array, cached on disk."""

import hashlib
import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from recall_lightning.data.ragged import Ints, offsets_of, pad, spans
from recall_lightning.whole import written_whole

_TOKENIZING = threading.Lock()  # a tokenizer of transformers keeps where it cuts, so two threads would cut each other's


@dataclass(frozen=True)
class Frame:
    """The special tokens around a text.

    Attributes:
        prefix: ids before the text, such as [CLS].
        suffix: ids after it, such as [SEP]; also stands between texts that are joined.
        pad_id: id of the filling.
    """

    prefix: list[int]
    suffix: list[int]
    pad_id: int

    @property
    def n_special(self) -> int:
        return len(self.prefix) + len(self.suffix)


@dataclass(frozen=True)
class TokenBatch:
    """Texts as a padded batch for the encoder.

    Attributes:
        ids: `(texts, tokens)` int64.
        mask: `(texts, tokens)` bool, False on the filling.
        buckets: spans `(start, stop, width)` of texts of alike length: encoding each by itself, cut to its width,
            spares most of the filling. Host integers, so that using them never waits for a device.
    """

    ids: Tensor
    mask: Tensor
    buckets: tuple[tuple[int, int, int], ...]

    def pin_memory(self) -> "TokenBatch":
        return TokenBatch(self.ids.pin_memory(), self.mask.pin_memory(), self.buckets)

    def to(self, device: torch.device, non_blocking: bool = False) -> "TokenBatch":
        return TokenBatch(
            self.ids.to(device, non_blocking=non_blocking),
            self.mask.to(device, non_blocking=non_blocking),
            self.buckets,
        )


@dataclass(frozen=True)
class Tokens:
    """Token ids of a list of texts, without special tokens.

    Attributes:
        values: `(all tokens,)` int32, text after text; may be a memory map.
        offsets: `(texts + 1,)` int64.
        frame: the special tokens to put around each.
    """

    values: NDArray[np.int32]
    offsets: Ints
    frame: Frame

    @property
    def lengths(self) -> Ints:
        """`(texts,)` int64, special tokens included."""
        return np.diff(self.offsets) + self.frame.n_special

    @property
    def alike(self) -> Ints:
        """`(texts,)` int64: the first text with the same tokens; of one that no earlier text equals, its own row."""
        first: dict[bytes, int] = {}
        spans_of = itertools.pairwise(self.offsets.tolist())
        return np.array([first.setdefault(self.values[a:b].tobytes(), row) for row, (a, b) in enumerate(spans_of)])

    def of(self, row: int) -> NDArray[np.int32]:
        """`(tokens,)` of one text."""
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def select(self, rows: Ints) -> "Tokens":
        """The texts of these rows alone, in their order."""
        starts, stops = self.offsets[rows], self.offsets[rows + 1]
        return Tokens(self.values[spans(starts, stops)], offsets_of(stops - starts), self.frame)

    def batch(self, rows: Ints, *, max_buckets: int = 4) -> TokenBatch:
        """The texts `rows`, padded to the longest of them.

        Buckets are of use where `rows` come sorted by length.
        """
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        return framed(self.values[spans(self.offsets[rows], self.offsets[rows + 1])], lengths, self.frame, max_buckets)

    def joined(self, rows: Ints, *, max_tokens: int) -> TokenBatch:
        """Texts put together, one for each row of `rows`, the newest first.

        Args:
            rows: `(batch, history)` int64, oldest first, -1 where there is none.
            max_tokens: cut there; the oldest texts go first.
        """
        newest_first = rows[:, ::-1]
        present = newest_first >= 0
        flat = newest_first[present]
        separator = np.asarray(self.frame.suffix, np.int32)
        pieces = [np.concatenate([self.values[self.offsets[r] : self.offsets[r + 1]], separator]) for r in flat]
        room = max_tokens - self.frame.n_special
        texts, at = [], 0
        for count in present.sum(1).tolist():
            empty = np.empty(0, np.int32)
            text = np.concatenate([empty, *pieces[at : at + count]])[: -len(separator) or None]
            texts.append(text[:room])
            at += count
        lengths = np.array([len(text) for text in texts], np.int64)
        return framed(np.concatenate(texts), lengths, self.frame, 1)


def concatenated(first: Tokens, second: Tokens) -> Tokens:
    """The texts of both, one after the other, tokenized alike."""
    return Tokens(
        np.concatenate([first.values, second.values]),
        np.concatenate([first.offsets, first.offsets[-1] + second.offsets[1:]]),
        first.frame,
    )


def framed(values: NDArray[np.int32], lengths: Ints, frame: Frame, max_buckets: int) -> TokenBatch:
    """Flat token ids as a padded batch, each text between its special tokens."""
    width = int(lengths.max(initial=0)) + frame.n_special
    ids = np.full((len(lengths), width), frame.pad_id, np.int64)
    n_prefix = len(frame.prefix)
    ids[:, :n_prefix] = frame.prefix
    body = pad(values, lengths, fill=frame.pad_id)
    ids[:, n_prefix : n_prefix + body.shape[1]] = body[:, : width - n_prefix]
    full = lengths + frame.n_special
    for i, token in enumerate(frame.suffix):
        ids[np.arange(len(lengths)), n_prefix + lengths + i] = token
    mask = np.arange(width) < full[:, None]
    return TokenBatch(torch.from_numpy(ids), torch.from_numpy(mask), _buckets(full, max_buckets))


def _buckets(lengths: Ints, most: int) -> tuple[tuple[int, int, int], ...]:
    """Equal shares of texts, each with its own width."""
    edges = np.linspace(0, len(lengths), min(most, max(len(lengths) // 32, 1)) + 1).astype(int).tolist()
    return tuple((a, b, int(lengths[a:b].max())) for a, b in itertools.pairwise(edges) if b > a)


def frame_of(tokenizer: PreTrainedTokenizerBase) -> Frame:
    """The special tokens that a tokenizer puts around one text."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    at = next(i for i in range(len(whole) + 1) if whole[i : i + len(bare)] == bare)
    return Frame(whole[:at], whole[at + len(bare) :], tokenizer.pad_token_id or 0)


def tokenize(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, *, max_tokens: int, cache_dir: Path | None = None
) -> Tokens:
    """Tokenize texts, or take the tokens from the cache if the same was done before.

    Args:
        texts: the texts.
        tokenizer: a fast tokenizer of transformers.
        max_tokens: cut there, special tokens included.
        cache_dir: folder of the cache, None for none. A file there is named by the hash of texts and tokenizer, written
            whole or not at all, and memory-mapped when read.
    """
    with _TOKENIZING:
        frame = frame_of(tokenizer)
    path = cache_dir / f"tokens-{_fingerprint(texts, tokenizer, max_tokens)}.npy" if cache_dir else None
    if path is not None and path.is_file():
        return _unpack(np.load(path, mmap_mode="r"), len(texts), frame)
    with _TOKENIZING:
        ids: list[list[int]] = (
            tokenizer(
                list(texts), add_special_tokens=False, truncation=True, max_length=max(max_tokens - frame.n_special, 1),
                return_attention_mask=False, return_token_type_ids=False,
            )["input_ids"] if texts else []
        )  # fmt: skip
        tokenizer.backend_tokenizer.no_truncation()  # else a checkpoint would carry it, but for tokens of the cache
    lengths = np.array([len(text) for text in ids], np.int64)
    packed = np.concatenate([lengths.astype(np.int32), *(np.array(text, np.int32) for text in ids)])
    if path is not None:
        with written_whole(path) as file:
            np.save(file, packed)
    return _unpack(packed, len(texts), frame)


def _unpack(packed: NDArray[np.int32], n_texts: int, frame: Frame) -> Tokens:
    return Tokens(packed[n_texts:], offsets_of(np.asarray(packed[:n_texts], np.int64)), frame)


def _fingerprint(texts: Sequence[str], tokenizer: Any, max_tokens: int) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(tokenizer.backend_tokenizer.to_str().encode())
    digest.update(str(max_tokens).encode())
    for text in texts:
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()
