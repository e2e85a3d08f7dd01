"""Ties are broken by popularity, and no other order is changed."""

import numpy as np
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recall_lightning.baselines.ties import by_popularity

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
neighbours = st.integers(-3, 3).map(lambda steps: np.float32(1) + np.float32(steps) * np.float32(2**-24))


@given(arrays(np.float32, 6, elements=finite | neighbours | st.sampled_from([0.0, 2.0**-149, -(2.0**-149)])),
       arrays(np.int64, 6, elements=st.integers(0, 5) | st.integers(0, 10**6)))  # fmt: skip
@example(np.float32([1 - 2.0**-24, 1, 1 + 2.0**-23, -1 - 2.0**-23, -1, 2.0**-24 - 1]), np.array([99, 0, 0, 99, 99, 0]))
def test_items_are_ordered_by_score_and_equal_ones_by_popularity(scores, counts):
    made = by_popularity(torch.from_numpy(scores)[None], torch.from_numpy(counts))[0].tolist()
    for i in range(6):
        for j in range(6):
            before = (scores[i], counts[i]) < (scores[j], counts[j])
            assert (made[i] < made[j]) == before


def test_a_catalogue_that_nobody_took_of_keeps_its_scores():
    assert by_popularity(torch.tensor([[1.0, 0.0]]), torch.tensor([0, 0])).tolist() == [[1.0, 0.0]]
