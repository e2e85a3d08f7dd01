"""Interactions: grouped by user, oldest first, each item once, in an order that nothing of the file shows through."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recall_lightning.data.grouping import group_by_user, hashes
from recall_lightning.data.interaction_log import InteractionLog
from recall_lightning.errors import InputError


def log_of(rows, *, timed=True):
    """Rows are (user, item, time)."""
    user_ids = list(dict.fromkeys(user for user, _, _ in rows))
    item_ids = list(dict.fromkeys(item for _, item, _ in rows))
    return InteractionLog(
        "ratings.csv", user_ids, item_ids,
        np.array([user_ids.index(user) for user, _, _ in rows], np.int64),
        np.array([item_ids.index(item) for _, item, _ in rows], np.int64),
        np.array([time for _, _, time in rows]) if timed else None,
    )  # fmt: skip


def typed(text):
    return [(user, item, int(time)) for user, item, time in (row.split() for row in text.split(","))]


def grouped(rows, catalogue=None, *, ties="row", timed=True, **options):
    """The histories that a person reads: {user: [item, ...]}."""
    catalogue = catalogue or sorted({item for _, item, _ in rows})
    made = group_by_user(log_of(rows, timed=timed), catalogue, ties=ties, **options)
    return {user: [catalogue[i] for i in made.history(u)] for u, user in enumerate(made.user_ids)}


def test_each_user_has_their_items_oldest_first():
    rows = typed("ann heat 3, bob alien 5, ann alien 1, ann brazil 2")
    assert grouped(rows) == {"ann": ["alien", "brazil", "heat"], "bob": ["alien"]}


def test_items_are_rows_of_the_catalogue_and_times_go_with_them():
    made = group_by_user(log_of(typed("ann heat 3, ann alien 1")), ["heat", "x", "alien"], ties="row")
    assert (made.items.tolist(), made.times.tolist()) == ([2, 0], [1, 3])
    assert (made.offsets.tolist(), made.lengths.tolist(), made.users.tolist()) == ([0, 2], [2], [0, 0])


def test_without_times_the_files_order_is_time_order():
    rows = typed("ann heat 3, bob alien 5, ann alien 1")
    assert grouped(rows, timed=False, ties="shuffle") == {"ann": ["heat", "alien"], "bob": ["alien"]}
    assert group_by_user(log_of(rows, timed=False), ["heat", "alien"], ties="row").times is None


def test_times_may_lie_before_1970_and_between_seconds():
    assert grouped([("ann", "heat", -0.5), ("ann", "alien", -1.5)]) == {"ann": ["alien", "heat"]}


def test_an_item_met_twice_counts_at_its_first_time():
    rows = typed("ann heat 9, ann alien 2, ann heat 1, ann heat 1, bob heat 4")
    made = group_by_user(log_of(rows), ["alien", "heat"], ties="row", shuffle_users=False)
    assert (made.items.tolist(), made.times.tolist(), made.lengths.tolist()) == ([1, 0, 1], [1, 2, 4], [2, 1])


TIED = [(user, f"film {item}", 0) for user in ("ann", "bob", "cid") for item in range(20)]


def test_ties_by_row_keep_the_files_order():
    assert grouped(TIED)["ann"] == [f"film {item}" for item in range(20)]
    assert grouped(TIED[::-1])["ann"] == [f"film {item}" for item in reversed(range(20))]


def test_shuffled_ties_follow_neither_the_files_order_nor_the_catalogues():
    catalogue = sorted({item for _, item, _ in TIED})
    once = grouped(TIED, catalogue, ties="shuffle")
    assert once == grouped(TIED[::-1], catalogue, ties="shuffle") == grouped(TIED, catalogue[::-1], ties="shuffle")
    assert once["ann"] not in ([f"film {item}" for item in range(20)], catalogue)


def test_shuffled_ties_differ_from_user_to_user_and_from_seed_to_seed():
    once = grouped(TIED, ties="shuffle")
    assert len({tuple(history) for history in once.values()}) == 3
    assert once != grouped(TIED, ties="shuffle", seed=1)


def test_two_tied_items_come_in_either_order_for_about_half_of_the_users():
    rows = [(f"user {u}", item, 0) for u in range(1000) for item in ("heat", "alien")]
    first = [history[0] for history in grouped(rows, ties="shuffle").values()]
    assert first.count("heat") == pytest.approx(500, abs=65)  # 4 standard deviations


def test_shuffling_ties_keeps_the_order_of_unequal_times():
    assert grouped(typed("ann heat 3, ann alien 1, ann brazil 2"), ties="shuffle")["ann"] == ["alien", "brazil", "heat"]


def test_users_come_in_an_order_of_neither_their_ids_nor_the_file():
    rows = [(f"{user:03}", "heat", user) for user in range(50)]
    order = list(grouped(rows))
    assert sorted(order) == [user for user, _, _ in rows] != order
    assert list(grouped(rows[::-1])) == order
    assert list(grouped(rows, seed=1)) != order


def test_without_shuffling_users_keep_the_logs_order_also_those_left_empty():
    log = log_of(typed("cid heat 1, ann heat 2, bob alien 3")).select(np.array([True, False, True]))
    made = group_by_user(log, ["heat", "alien"], ties="row", shuffle_users=False)
    assert (made.user_ids, made.lengths.tolist()) == (["cid", "ann", "bob"], [1, 0, 1])
    assert sorted(group_by_user(log, ["heat", "alien"], ties="row").user_ids) == ["bob", "cid"]


def test_orders_are_the_same_in_every_process():
    program = (
        "from recall_lightning.data.interaction_log import InteractionLog; "
        "from recall_lightning.data.grouping import group_by_user; import numpy as np;"
        "users = np.repeat(np.arange(3), 20); items = np.tile(np.arange(20), 3);"
        "log = InteractionLog('r', ['ann', 'bob', 'cid'], [f'film {i}' for i in range(20)], users, items, users * 0);"
        "made = group_by_user(log, log.item_ids, ties='shuffle'); print(made.user_ids, made.items.tolist())"
    )
    catalogue = [f"film {item}" for item in range(20)]
    made = group_by_user(log_of(TIED), catalogue, ties="shuffle")
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        assert run.stdout.strip() == f"{made.user_ids} {made.items.tolist()}"


def test_hashes_are_these_numbers_on_every_machine():
    assert [hex(value) for value in hashes(["ann", "007"], 0)] == ["0x159c0645ae1101e0", "0x669a88ee184bc340"]
    assert hashes([], 0).tolist() == []


def test_items_without_text_are_named_with_the_cure():
    rows = typed("ann heat 1, ann alien 2, bob brazil 3, bob dune 4, bob alien 5")
    message = r"^ratings\.csv: no text for 4 item\(s\): 'heat', 'alien', 'brazil'\. .*data\.missing_text: drop"
    with pytest.raises(InputError, match=message):
        grouped(rows, ["tron"])
    with pytest.raises(InputError, match=r"no text for 1 item\(s\): 'dune'\."):
        grouped(rows, ["heat", "alien", "brazil"])


def test_items_of_rows_left_out_need_no_text():
    log = log_of(typed("ann heat 1, ann alien 2")).select(np.array([True, False]))
    assert group_by_user(log, ["heat"], ties="row").items.tolist() == [0]


ROWS = st.lists(
    st.tuples(st.sampled_from(["ann", "bob", "cid", "7", "007"]), st.sampled_from("abcdef"), st.integers(-2, 3)),
    min_size=1, max_size=40,
)  # fmt: skip


@given(ROWS, st.booleans(), st.booleans())
def test_grouping_agrees_with_sorting_each_user_by_hand(rows, timed, shuffle_users):
    expected = {}
    for user, item, _ in sorted(rows, key=lambda row: row[2] if timed else 0):
        history = expected.setdefault(user, [])
        if item not in history:
            history.append(item)
    made = grouped(rows, list("fedcba"), timed=timed, shuffle_users=shuffle_users)
    assert made == expected
    if not shuffle_users:
        assert list(made) == list(dict.fromkeys(user for user, _, _ in rows))


@given(ROWS, st.randoms())
def test_with_shuffled_ties_the_files_order_changes_nothing(rows, random):
    mixed = random.sample(rows, len(rows))
    once, again = (grouped(r, list("abcdef"), ties="shuffle") for r in (rows, mixed))
    assert list(once.items()) == list(again.items())
