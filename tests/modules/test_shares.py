"""Several processes encode a share of the texts each, and all have all vectors."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recall_lightning.data.ragged import offsets_of
from recall_lightning.data.tokens import Frame, Tokens
from recall_lightning.modules.shares import encode_in_shares


def texts_of(lengths):
    values = np.arange(sum(lengths), dtype=np.int32)
    return Tokens(values, offsets_of(np.array(lengths, np.int64)), Frame([101], [102], 0))


def lengths_and_sums(tokens):
    """An encoder whose vectors can be done in the head: a text's length, and the sum of its tokens."""
    rows = [tokens.values[a:b] for a, b in zip(tokens.offsets, tokens.offsets[1:], strict=False)]
    return torch.tensor([[len(row), row.sum()] for row in rows], dtype=torch.float64)


def on_all(processes, tokens):
    """What each of several processes, here threads, comes to have, and how many tokens it encoded."""
    given, barrier, encoded, cut = [None] * processes, Barrier(processes), [0] * processes, [None] * processes

    def on(rank):
        def encode(some, lengths):
            encoded[rank], cut[rank] = len(some.values), lengths.tolist()
            assert (lengths >= some.lengths).all()
            return lengths_and_sums(some)

        def gather(tensor):
            given[rank] = tensor
            barrier.wait(timeout=10)
            found = torch.stack(given)
            barrier.wait(timeout=10)
            return found

        return encode_in_shares(encode, tokens, rank, processes, gather)

    with ThreadPoolExecutor(processes) as threads:
        vectors = list(threads.map(on, range(processes)))
    assert all(lengths == cut[0] for lengths in cut)  # or they would not run shared layers equally often
    return vectors, encoded


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.integers(1, 5))
def test_all_processes_have_what_one_would_have_encoded(lengths, processes):
    tokens = texts_of(lengths)
    vectors, _ = on_all(processes, tokens)
    for found in vectors:
        assert found.equal(lengths_and_sums(tokens))


def test_each_encodes_a_part_of_about_as_many_tokens():
    _, encoded = on_all(3, texts_of(list(range(30))))
    assert sum(encoded) == pytest.approx(sum(range(30)))
    assert max(encoded) <= 1.1 * sum(encoded) / 3
