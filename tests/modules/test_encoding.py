"""encode_texts: the texts' vectors, whatever shares their batch. batches_of: within the budget, little filling."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recall_lightning.data.tokens import tokenize
from recall_lightning.models.encoder import TextEncoder
from recall_lightning.modules.encoding import FILLING, batches_of, encode_texts, encoded_batches
from recall_lightning.pretrained import load_model, load_tokenizer

CPU = torch.device("cpu")
TEXTS = ["the piano", "heat", "", "alien", "a fish called wanda", "fargo", "heat", "brazil", "m"]


@pytest.fixture(scope="module", params=["mean", "cls"])
def encoder(tiny_encoder, request):
    return TextEncoder(load_model(str(tiny_encoder)), pooling=request.param)


@pytest.fixture(scope="module")
def tokens(tiny_encoder):
    return tokenize(TEXTS, load_tokenizer(str(tiny_encoder)), max_tokens=24)


class Listening:
    """An encoder that remembers what it was asked for."""

    def __init__(self, encoder):
        self.encoder, self.dim, self.batches = encoder, encoder.dim, []

    def __call__(self, ids, mask=None):
        self.batches.append((ids, mask))
        return self.encoder.eval()(ids, mask)


@pytest.mark.parametrize("tokens_at_once", [1, 20, 64, None])
def test_a_text_s_vector_is_the_one_it_has_by_itself(encoder, tokens, tokens_at_once):
    encoder.eval()
    with torch.no_grad():
        alone = [tokens.batch(np.array([row])) for row in range(len(TEXTS))]
        expected = torch.cat([encoder(text.ids, text.mask) for text in alone])
    torch.testing.assert_close(
        encode_texts(encoder, tokens, CPU, tokens_at_once=tokens_at_once), expected, atol=1e-6, rtol=0
    )


def test_dropout_is_off_meanwhile_and_the_training_mode_is_as_it_was(tiny_encoder, tokens):
    encoder = TextEncoder(load_model(str(tiny_encoder)), dropout=0.5).train()
    assert encode_texts(encoder, tokens, CPU).equal(encode_texts(encoder, tokens, CPU))
    assert encoder.training
    next(encoded_batches(encoder, tokens, np.arange(2), CPU, tokens_at_once=1))  # and nobody asks for the rest
    assert encoder.training
    assert not encode_texts(encoder.eval(), tokens, CPU).requires_grad
    assert not encoder.training


def test_only_where_lengths_differ_texts_are_filled_and_get_a_mask(encoder, tiny_encoder):
    texts = ["m" * 30, "heat", "m" * 31, "mama"]  # of 32, 6, 33, 6 tokens
    heard = Listening(encoder)
    encode_texts(heard, tokenize(texts, load_tokenizer(str(tiny_encoder)), max_tokens=40), CPU)
    (short, no_mask), (long, mask) = heard.batches
    assert (short.shape, no_mask) == ((2, 6), None)
    assert (long.shape, mask.sum(1).tolist()) == ((2, 33), [32, 33])


def test_there_may_be_no_text(encoder, tokens, tiny_encoder):
    none = tokenize([], load_tokenizer(str(tiny_encoder)), max_tokens=24)
    assert encode_texts(encoder, none, CPU).shape == (0, 32)


def test_batches_end_at_the_budget_and_where_lengths_change_once_half_full():
    assert batches_of(np.array([5, 5, 5, 5, 5]), 10) == [(0, 2), (2, 4), (4, 5)]
    assert batches_of(np.array([5, 5, 6, 6]), 20) == [(0, 2), (2, 4)]  # half full, and the next text is longer
    assert batches_of(np.array([50, 51, 60]), 1000) == [(0, 2), (2, 3)]  # 1 of 102 fills; then 19 of 180 would
    assert batches_of(np.array([700]), 512) == [(0, 1)]
    assert batches_of(np.array([], np.int64), 512) == []


@given(st.lists(st.integers(2, 90), max_size=60), st.integers(1, 400))
def test_batches_cover_all_texts_within_the_budget_and_with_little_filling(lengths, budget):
    lengths = np.sort(np.array(lengths, np.int64))
    spans = batches_of(lengths, budget)
    assert [row for a, b in spans for row in range(a, b)] == list(range(len(lengths)))
    for a, b in spans:
        padded = (b - a) * lengths[b - 1]
        assert padded <= budget or b - a == 1
        assert padded - lengths[a:b].sum() <= FILLING * padded
