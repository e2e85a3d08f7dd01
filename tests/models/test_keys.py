import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recall_lightning.models.keys import NONE, keys_of, rows_of, values_of

FLOATS = st.floats(width=32, allow_nan=False)
PAIRS = st.lists(st.tuples(FLOATS, st.integers(0, 2**32 - 1)), min_size=1)


@given(PAIRS)
def test_keys_sort_by_value_descending_then_by_row_and_give_both_back(pairs):
    values, rows = np.array([v for v, _ in pairs], np.float32), np.array([r for _, r in pairs])
    keys = np.sort(keys_of(values, rows))
    expected = sorted(pairs, key=lambda pair: (-pair[0], pair[1]))
    assert rows_of(keys).tolist() == [row for _, row in expected]
    assert values_of(keys).tolist() == [value for value, _ in expected]


def test_what_is_not_there_sorts_last_below_minus_infinity():
    keys = np.append(keys_of(np.array([-np.inf, 1], np.float32), np.array([2**32 - 1, 0])), NONE)
    assert (np.sort(keys)[-1], values_of(keys)[-1], rows_of(keys)[-1]) == (NONE, -np.inf, -1)
