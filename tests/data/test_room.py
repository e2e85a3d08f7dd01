"""Interactions in files: split, counted and batched a block of users at a time, they give what they give in memory."""

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recall_lightning.data.episodes import EpisodeConfig, episode_counts
from recall_lightning.data.interactions import Columns, Interactions
from recall_lightning.data.order_statistic import nth_smallest
from recall_lightning.data.popularity import popularity_by_place
from recall_lightning.data.ragged import offsets_of
from recall_lightning.data.room import Growing, Room, Spill
from recall_lightning.data.sequences import sequences
from recall_lightning.data.splits import Cases, Split, Splits
from recall_lightning.data.successors import neighbours, successors
from recall_lightning.errors import InputError

N_ITEMS = 6
ITEM_IDS = [f"item {row}" for row in range(N_ITEMS)]
USERS = st.lists(
    st.lists(st.tuples(st.integers(0, N_ITEMS - 1), st.integers(0, 9)), max_size=6), min_size=1, max_size=9
)
ROWS = st.integers(1, 12)  # in memory at once
SPLITS = st.sampled_from([
    Splits("leave_last_out"),
    Splits("temporal"),
    Splits("temporal", share=0.3),
    Splits("temporal", validation_from=3, test_from=6.5),
    Splits("cold_users", share=0.3, k=1),
    Splits("cold_users", share=0.3, k=1, query="fixed", support="last", window_from=2, n_queries=1),
    Splits("new_items", share=0.3),
])  # fmt: skip


def in_memory(users, *, timed=True):
    rows = [(item, time) for user in users for item, time in sorted(user, key=lambda row: row[1])]
    items, times = (np.array(column, np.int64) for column in (zip(*rows, strict=True) if rows else ((), ())))
    offsets = offsets_of(np.array([len(user) for user in users]))
    return Interactions([f"user {n}" for n in range(len(users))], items, times if timed else None, offsets)


def in_files(interactions, folder, rows):
    """The same interactions, of which memory may hold so many rows."""
    made = Columns(None if interactions.times is None else interactions.times.dtype, Room(folder, rows))
    made.append(interactions.items, interactions.times)
    return made.grouped(interactions.user_ids, interactions.lengths)


def plain(value: Any) -> Any:
    """Arrays as lists, their types beside; whether they lie in files is left out."""
    if isinstance(value, np.ndarray):
        return value.dtype, value.tolist()
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, Interactions | Cases | Split):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value) if field.name != "room"}
    return value


def outcome(made):
    try:
        return plain(made())
    except InputError as error:
        return str(error)


@given(USERS, ROWS, SPLITS, st.integers(0, 3), st.booleans())
def test_a_split_is_the_same(tmp_path_factory, users, rows, splits, seed, timed):
    held = in_memory(users, timed=timed)
    assume(len(held))
    filed = in_files(held, tmp_path_factory.getbasetemp(), rows)
    expected = outcome(lambda: splits.split(held, ITEM_IDS, seed))
    assert outcome(lambda: splits.split(filed, ITEM_IDS, seed)) == expected


@pytest.mark.parametrize("name", ["leave_last_out", "temporal", "cold_users", "new_items"])
def test_what_a_split_makes_lies_in_files_too(tmp_path, name):
    users = [[(item, (item + n) % N_ITEMS) for item in range(N_ITEMS)] for n in range(40)]
    split = Splits(name, share=0.2, k=2).split(in_files(in_memory(users), tmp_path, 7), ITEM_IDS, 0)
    for made in (split.train, split.validation.interactions, split.test.interactions):
        assert made.room is not None
        base = made.items
        while not isinstance(base, np.memmap):
            base = base.base  # down to the map; of an array in memory that is None
    assert not list(tmp_path.iterdir())  # without a name: nothing to clean up


@given(USERS, ROWS, st.integers(1, 5), st.integers(1, 4))
def test_what_is_counted_is_the_same(tmp_path_factory, users, rows, window, most):
    held = in_memory(users)
    filed = in_files(held, tmp_path_factory.getbasetemp(), rows)
    config = EpisodeConfig(1, 1, 1, latest_start=1)
    for count in (
        lambda of: popularity_by_place(of, N_ITEMS),
        lambda of: successors(of, N_ITEMS, window=window, most=most)[0],
        lambda of: successors(of, N_ITEMS, window=window, most=most)[1],
        lambda of: neighbours(of, N_ITEMS, window=window, most=most)[0],
        lambda of: neighbours(of, N_ITEMS, window=window, most=most)[1],
        lambda of: episode_counts(of, config, N_ITEMS),
        lambda of: sequences(of, 2),
    ):
        assert plain(count(filed)) == plain(count(held))


@given(USERS, ROWS)
def test_blocks_are_whole_users_and_no_more_rows_than_memory_may_hold(tmp_path_factory, users, rows):
    filed = in_files(in_memory(users), tmp_path_factory.getbasetemp(), rows)
    blocks = list(filed.blocks())
    assert [user for block in blocks for user in block.part.user_ids] == filed.user_ids
    assert [item for block in blocks for item in block.part.items] == filed.items.tolist()
    assert all(len(block.part) <= rows or block.part.n_users == 1 for block in blocks)
    assert [(b.users.start, b.rows.start) for b in blocks[1:]] == [(b.users.stop, b.rows.stop) for b in blocks[:-1]]


@given(
    arrays(np.int64, st.integers(1, 9), elements=st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1))
    | arrays(np.float64, st.integers(1, 9), elements=st.floats(allow_nan=False)),
    st.integers(0, 8), st.integers(1, 4),
)  # fmt: skip
def test_the_nth_smallest_is_what_sorting_finds(values, n, at_once):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recall_lightning.data.order_statistic._AT_ONCE", at_once)
        found = nth_smallest(values, n % len(values))
    assert found == np.sort(values)[n % len(values)]
    assert found.dtype == values.dtype


def test_rows_come_back_by_bucket_in_their_order_and_of_the_type_that_holds_them_all(tmp_path):
    spill = Spill(Room(tmp_path, 5), 3)
    spill.add(np.array([2, 0, 2]), np.array([1, 2, 3]), np.array([10, 20, 30]))
    spill.add(np.array([2, 0]), np.array([4, 5]), np.array([0.5, 1.5]))
    assert [plain(column) for column in spill.read(2)] == [
        (np.dtype(np.int64), [1, 3, 4]), (np.dtype(np.float64), [10, 30, 0.5])
    ]  # fmt: skip
    assert [column.tolist() for column in spill.read(0)] == [[2, 5], [20, 1.5]]
    assert [len(column) for column in spill.read(1)] == [0, 0]


def test_an_array_that_grew_can_only_be_read(tmp_path):
    grown = Growing(Room(tmp_path, 5), np.int64)
    grown.append(np.array([1, 2]))
    grown.append(np.array([3]))
    whole = grown.whole()
    assert whole.tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="read-only"):
        whole[0] = 7
