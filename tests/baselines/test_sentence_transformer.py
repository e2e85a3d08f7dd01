"""Fine-tuning by sentence-transformers: its pairs, its batches, and that it learns."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recall_lightning.baselines.sentence_transformer import FineTunedSentenceTransformer, batches, drawn_pairs

pairs = st.lists(st.tuples(st.integers(0, 6), st.integers(7, 12)), unique=True)


@given(pairs, st.integers(2, 5))
def test_no_text_is_twice_in_a_batch_and_no_pair_is_lost_but_lone_ones(given_pairs, size):
    texts = [f"text {row % 11}" for row in range(13)]  # items 0 and 11, 1 and 12 have the same text
    given_pairs = [pair for pair in given_pairs if texts[pair[0]] != texts[pair[1]]]
    made = list(batches(given_pairs, texts, size))
    for batch in made:
        named = [texts[row] for pair in batch for row in pair]
        assert len(set(named)) == len(named)
        assert 2 <= len(batch) <= size
    seen = [pair for batch in made for pair in batch]
    assert len(seen) == len(set(seen))
    left = set(given_pairs) - set(seen)
    assert set(seen) <= set(given_pairs)
    for pair in left:  # each shares a text with any other that is left
        assert all({texts[r] for r in pair} & {texts[r] for r in other} for other in left)


def test_pairs_are_neighbours_of_one_user_with_different_texts(typed_train):
    train = typed_train([[0, 1, 2], [3], [2, 4, 0]])
    texts = ["a", "b", "b", "c", "d"]
    rng = np.random.default_rng(0)
    assert {tuple(pair) for pair in drawn_pairs(train, texts, 9, rng).tolist()} == {(0, 1), (2, 4), (4, 0)}
    assert len(drawn_pairs(train, texts, 2, rng)) == 2


def test_it_brings_neighbours_closer_and_equal_inputs_give_equal_vectors(typed_data, typed_train):
    pytest.importorskip("sentence_transformers", reason="the extra `sentence-transformers` isn't installed")
    train = typed_train([[0, 1], [2, 3]])

    def trained(epochs):
        made = FineTunedSentenceTransformer(typed_data.encoder, epochs=epochs, learning_rate=1e-3)
        made.fit(train, typed_data)
        return made.vectors

    def margin(vectors):  # how much nearer the neighbour is than another's
        cosines = vectors @ vectors.T
        return float(cosines[0, 1] - cosines[0, 3] + cosines[2, 3] - cosines[2, 1])

    before, after, again = trained(0), trained(30), trained(30)
    assert margin(after) > margin(before) + 0.1
    assert torch.equal(after, again)
    assert torch.allclose(after.norm(dim=1), torch.ones(len(after)))
