"""Intervals: over users, paired, the same at each run."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recall_lightning.baselines.bootstrap import intervals


def test_an_interval_of_many_users_is_that_of_the_normal_approximation():
    values = np.random.default_rng(0).random((4000, 1))
    found = intervals(values)
    margin = 1.96 * values.std() / 4000**0.5
    assert found["mean"][0] == pytest.approx(values.mean())
    assert found["low"][0] == pytest.approx(values.mean() - margin, abs=0.15 * margin)
    assert found["high"][0] == pytest.approx(values.mean() + margin, abs=0.15 * margin)


def test_a_difference_is_taken_user_by_user_so_that_a_constant_one_has_no_spread():
    users = np.random.default_rng(0).random(200)
    found = intervals(np.stack([users, users + 0.1], 1), against=0)
    assert found["difference"].tolist() == pytest.approx([0, 0.1])
    assert found["difference_low"].tolist() == pytest.approx([0, 0.1])
    assert found["difference_high"].tolist() == pytest.approx([0, 0.1])
    assert found["high"][1] - found["low"][1] > 0.05  # each mean by itself does move


def test_a_user_without_a_value_counts_in_no_mean_of_that_column():
    found = intervals(np.array([[1.0, np.nan], [0.0, 1.0], [0.5, np.nan], [0.5, 1.0]]))
    assert found["mean"].tolist() == [0.5, 1.0]


def test_a_column_without_any_value_has_no_figures():
    found = intervals(np.array([[1.0, np.nan], [0.0, np.nan]]))
    assert np.isnan([found[name][1] for name in ("mean", "low", "high")]).all()


def test_one_seed_gives_one_interval_whatever_the_memory(monkeypatch):
    values = np.random.default_rng(0).random((50, 2))
    first = intervals(values, against=1)
    monkeypatch.setattr("recall_lightning.baselines.bootstrap._AT_ONCE", 170)
    again = intervals(values, against=1)
    assert all(np.allclose(first[name], again[name]) for name in first)
    assert not np.allclose(intervals(values, seed=1)["low"], first["low"])


@given(arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.floats(0, 1)))
def test_an_interval_lies_within_the_values_and_agrees_with_a_loop(values):
    found = intervals(values, resamples=40)
    assert (values.min(0) - 1e-9 <= found["low"]).all()
    assert (found["low"] <= found["high"] + 1e-12).all()
    assert (found["high"] <= values.max(0) + 1e-9).all()
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(values), (40, len(values)))
    slow = np.array([[values[row, c].mean() for c in range(values.shape[1])] for row in drawn])
    assert found["low"] == pytest.approx(np.percentile(slow, 2.5, axis=0))
