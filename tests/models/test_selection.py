import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recall_lightning.models import selection


@given(st.integers(1, 4), st.integers(1, 70), st.integers(1, 5), st.integers(0, 10**6), st.integers(2, 6))
def test_the_best_columns_of_wide_rows_are_those_of_a_stable_sort_whatever_is_equal(n, columns, k, seed, group):
    k = min(k, columns)
    levels = torch.tensor([-torch.inf, -1.0, 0.0, 1.0, 2.0])
    scores = levels[torch.randint(0, 5, (n, columns), generator=torch.Generator().manual_seed(seed))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "GROUP", group)
        values, found = selection.best_columns(scores, k)
    expected = scores.sort(dim=-1, descending=True, stable=True)
    assert values.equal(expected.values[:, :k])
    assert found.equal(expected.indices[:, :k])


def test_groups_are_looked_through_where_rows_are_wide():
    scores = torch.rand(3, 64 * 25 + 7, generator=torch.Generator().manual_seed(0))
    scores[0, -1], scores[1, :] = 2.0, 0.5
    values, found = selection.best_columns(scores, 10)
    expected = scores.sort(dim=-1, descending=True, stable=True)
    assert found.equal(expected.indices[:, :10])
    assert values.equal(expected.values[:, :10])
    assert found[0, 0] == 64 * 25 + 6
    assert found[1].tolist() == list(range(10))
