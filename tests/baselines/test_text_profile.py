"""Texts that share words: tf-idf and BM25 against loops over words."""

import math

import numpy as np
import pytest

from recall_lightning.baselines.base import UnavailableError
from recall_lightning.baselines.text_profile import Bm25Profile, TfIdfProfile

pytest.importorskip("sklearn", reason="the extra `compare` isn't installed")
TEXTS = ["heat crime action", "alien horror space", "space opera space", "crime drama", "horror crime", "unseen crime"]
TRAIN = [[0, 1], [1, 2, 3], [4, 0]]  # item 5 is in nobody's training


def words(row):
    return TEXTS[row].split()


KNOWN = sorted({word for row in range(5) for word in words(row)})
N_WITH = {word: sum(word in words(row) for row in range(5)) for word in KNOWN}


def test_tf_idf_scores_are_cosines_to_the_sum_of_the_newest_items(fitted, ask):
    def vector(row):
        made = np.array([words(row).count(word) * (math.log(6 / (1 + N_WITH[word])) + 1) for word in KNOWN])
        return made / np.linalg.norm(made)

    vectors = np.stack([vector(row) for row in range(6)])
    scores = ask(fitted(TfIdfProfile(last=2), TRAIN, 6, texts=TEXTS), [[3, 0, 2], [1], []])
    user = vectors[0] + vectors[2]
    np.testing.assert_allclose(scores[0] / np.linalg.norm(user), vectors @ user / np.linalg.norm(user), rtol=1e-5)
    np.testing.assert_allclose(scores[1], vectors @ vectors[1], rtol=1e-5, atol=1e-7)
    assert not scores[2].any()


def test_bm25_scores_are_those_of_counting_by_hand(fitted, ask):
    lengths = [len([word for word in words(row) if word in KNOWN]) for row in range(6)]
    mean = sum(lengths[:5]) / 5

    def slow_score(history, row):
        score = 0.0
        for word in (word for item in history for word in words(item)):
            if word in KNOWN:
                idf = math.log(1 + (5 - N_WITH[word] + 0.5) / (N_WITH[word] + 0.5))
                times = words(row).count(word)
                score += idf * times * 2.2 / (times + 1.2 * (0.25 + 0.75 * lengths[row] / mean))
        return score

    asked = [[3, 0, 2], [1], []]
    scores = ask(fitted(Bm25Profile(last=None), TRAIN, 6, texts=TEXTS), asked)
    np.testing.assert_allclose(scores, [[slow_score(h, row) for row in range(6)] for h in asked], rtol=1e-5)


@pytest.mark.parametrize("kind", [TfIdfProfile, Bm25Profile])
def test_texts_without_a_word_say_why_they_cannot_be_compared(kind, fitted):
    with pytest.raises(UnavailableError, match="no word of two letters"):
        fitted(kind(), [[0, 1]], 2, texts=["A", "!"])


@pytest.mark.parametrize("kind", [TfIdfProfile, Bm25Profile])
def test_a_held_out_items_text_changes_no_other_items_score(kind, fitted, ask):
    before = ask(fitted(kind(), TRAIN, 6, texts=TEXTS), [[0, 1]])
    after = ask(fitted(kind(), TRAIN, 6, texts=[*TEXTS[:5], "alien horror horror horror"]), [[0, 1]])
    assert (before[:, :5] == after[:, :5]).all()
    assert before[0, 5] != after[0, 5]
