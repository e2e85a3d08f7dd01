"""Words: vectors of the pieces that several items of the training share, summed over a text's."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recall_lightning.data.ragged import offsets_of
from recall_lightning.data.tokens import Frame, Tokens
from recall_lightning.errors import InputError
from recall_lightning.models.words import Words
from recall_lightning.modules.spelling import spelling_of

CLS, SEP, PAD, VOCABULARY, DIM = 1, 2, 0, 12, 3
SPECIAL = {PAD, CLS, SEP}  # a text that spells one out has no piece by it

some_texts = st.lists(st.lists(st.integers(0, VOCABULARY - 1), max_size=6), min_size=1, max_size=6)


def tokens_of(texts):
    values = np.array([piece for text in texts for piece in text], np.int32)
    return Tokens(values, offsets_of(np.array([len(text) for text in texts])), Frame([CLS], [SEP], PAD))


def words_of(texts, *, counts=None, least=1):
    counts = torch.ones(len(texts), dtype=torch.int64) if counts is None else torch.tensor(counts)
    made = Words(spelling_of(tokens_of(texts)), counts, least, VOCABULARY, DIM)
    torch.manual_seed(0)
    torch.nn.init.normal_(made.vectors)
    return made


def by_hand(words, texts, known):
    """Each text's sum, piece by piece."""
    rows = {piece: row for row, piece in enumerate(sorted(known))}
    sums = torch.zeros(len(texts), DIM)
    for at, text in enumerate(texts):
        its = sorted(set(text) & known)
        for piece in its:
            sums[at] += words.vectors[rows[piece]].detach() / len(its) ** 0.5
    return sums


@given(some_texts, st.lists(st.integers(0, 2), min_size=6, max_size=6), st.integers(1, 3))
def test_a_text_is_the_sum_of_its_different_pieces_that_enough_trained_items_have(texts, counts, least):
    counts = counts[: len(texts)]
    trained = [set(text) - SPECIAL for text, count in zip(texts, counts, strict=True) if count]
    known = {piece for piece in range(VOCABULARY) if sum(piece in text for text in trained) >= least}
    words = words_of(texts, counts=counts, least=least)
    assert words.vectors.shape == (len(known), DIM)
    torch.testing.assert_close(words(), by_hand(words, texts, known))


@given(some_texts, some_texts)
def test_a_text_that_training_never_saw_has_the_vectors_of_the_pieces_that_are_known(texts, others):
    words = words_of(texts)
    expected = by_hand(words, others, {piece for text in texts for piece in text} - SPECIAL)
    torch.testing.assert_close(words.of_bags(words.bags(spelling_of(tokens_of(others)))), expected)


@given(some_texts, some_texts)
def test_token_by_token_it_is_the_same_whatever_the_filling_and_the_special_tokens(texts, others):
    words, batch = words_of(texts), tokens_of(others).batch(np.arange(len(others)))
    parts = words.of_tokens(torch.where(batch.mask, batch.ids, 5), batch.mask)
    assert parts.shape == (*batch.ids.shape, DIM)
    torch.testing.assert_close(parts.sum(1), words.of_bags(words.bags(spelling_of(tokens_of(others)))))


@given(some_texts, st.lists(st.integers(0, 5), max_size=4))
def test_some_rows_are_those_of_all(texts, rows):
    words, rows = words_of(texts, least=2), torch.tensor([row % len(texts) for row in rows], dtype=torch.int64)
    torch.testing.assert_close(words(rows), words()[rows])


def test_gradient_flows_to_the_pieces_of_the_texts_alone():
    words = words_of([[3, 4], [4, 5]])
    words(torch.tensor([0])).sum().backward()
    assert words.vectors.grad.tolist() == [[pytest.approx(0.5**0.5)] * 3] * 2 + [[0.0] * 3]


def test_of_another_model_the_pieces_are_taken_that_both_know():
    words, start = words_of([[3, 4, 5]]), words_of([[9, 5, 4]])
    before = words.vectors.detach().clone()
    start.vectors.data += 1
    words.take_over(start)
    assert words.vectors.equal(torch.stack([before[0], start.vectors[0], start.vectors[1]]))


def test_weights_of_other_words_are_refused():
    state = words_of([[3, 4, 5]]).state_dict()
    words_of([[5, 3], [4]]).load_state_dict(state)
    with pytest.raises(InputError, match="are not those of the data's texts"):
        words_of([[3, 4, 6]]).load_state_dict(state)
