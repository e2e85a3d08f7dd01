"""The Markov chain against a loop over all pairs."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recall_lightning.baselines.markov import MarkovChain

N_ITEMS = 5
histories = st.lists(
    st.permutations(range(N_ITEMS)).flatmap(lambda p: st.integers(0, 5).map(lambda n: p[:n])), min_size=1, max_size=5
)


@given(histories, histories, st.sampled_from([1, 2, 10]), st.sampled_from([0.0, 0.25, 0.5]),
       st.sampled_from([1, 2, 10]), st.sampled_from([0.5, 1.0]))  # fmt: skip
def test_scores_are_those_of_counting_by_hand(fitted, ask, train, asked, window, discount, last, decay):
    chain = fitted(MarkovChain(window=window, discount=discount, last=last, decay=decay), train, N_ITEMS)
    expected = [slow_scores(train, history, window, discount, last, decay) for history in asked]
    np.testing.assert_allclose(ask(chain, asked), expected, rtol=1e-5, atol=1e-12)


def slow_scores(train, history, window, discount, last, decay):
    size = [max(1, sum(h.count(i) for h in train)) for i in range(N_ITEMS)]
    scores = np.zeros(N_ITEMS)
    for place, item in enumerate(reversed(history[-last:]), start=1):
        for other in train:
            for i in range(len(other)):
                for j in range(i + 1, min(len(other), i + window + 1)):
                    if other[i] == item:
                        weight = 1 / (j - i) / (size[item] * size[other[j]] ** discount)
                        scores[other[j]] += place**-decay * weight
    return scores


def test_an_empty_history_gets_popular_items(fitted, ask):
    chain = fitted(MarkovChain(), [[0, 1], [2, 1], [2]], 4)
    assert np.argsort(-ask(chain, [[]])[0], kind="stable").tolist() == [1, 2, 0, 3]
