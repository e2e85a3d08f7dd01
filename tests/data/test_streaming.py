"""Interactions in shards: whatever memory may hold of them at once, they come to what one table in memory comes to."""

import itertools
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recall_lightning import Tabular
from recall_lightning.data.filters import Filters
from recall_lightning.data.preparing import prepare
from recall_lightning.errors import InputError

ITEMS = "item_id,title\n" + "".join(f"{item},{item}\n" for item in "abcdefg")  # h has no text

ROWS = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob", "cid", "dee", "007", "7"]), st.sampled_from("abcdefgh"),
        st.integers(-2, 3) | st.integers(2**60, 2**60 + 3), st.sampled_from([1.0, 2.5, 4.0]),
    ),
    min_size=1, max_size=25,
)  # fmt: skip
FILTERS = st.fixed_dictionaries(
    {"missing_text": st.sampled_from(["error", "drop", "drop", "drop"])},
    optional={
        "min_weight": st.sampled_from([2.0, 3.0]), "since": st.just(0), "until": st.just(3),
        "repeats": st.sampled_from(["first", "last"]), "min_interactions": st.integers(1, 3),
        "min_users": st.integers(1, 3), "catalogue_items": st.sampled_from(["described", "interacted"]),
    },
)  # fmt: skip


def write(folder, table, sizes):
    """A table as one file, and as shards of these sizes and the rest, in row groups of three."""
    (folder / "shards" / "z").mkdir(parents=True)
    (folder / "items.csv").write_text(ITEMS)
    pq.write_table(table, folder / "one.parquet")
    bounds = [0, *sorted(min(size, len(table)) for size in sizes), len(table)]
    for number, (start, stop) in enumerate(itertools.pairwise(bounds)):
        name = f"z/{number}.parquet" if stop == len(table) else f"{number}.parquet"
        pq.write_table(table.slice(start, stop - start), folder / "shards" / name, row_group_size=3)


def read(folder, name, ties="row", seed=0, cache=None, **filters):
    reader = Tabular(str(folder / name), str(folder / "items.csv"), memory_mb=1)
    return prepare(reader, "{title}", Filters(**filters), ties, seed, cache)


def outcome(*args, **kwargs):
    """What comes of `read`: all of it as plain values, or the error."""
    try:
        made = read(*args, **kwargs)
    except InputError as error:
        return re.sub(r"\S*(one|shards|\d)(\.parquet)?\b", "FILE", str(error))
    grouped = made.interactions
    times = None if grouped.times is None else (grouped.times.dtype, grouped.times.tolist())
    return (
        grouped.user_ids, grouped.items.dtype, grouped.items.tolist(), times, grouped.offsets.tolist(), made.catalogue,
        made.n_read, made.left_out, made.broken, made.n_repeated, made.n_items_read, made.n_items_without_text,
        made.n_without_text,
    )  # fmt: skip


@pytest.fixture
def small(monkeypatch):
    """A MiB that holds three interactions, or two as they are read."""
    monkeypatch.setattr("recall_lightning.data.room._BYTES_A_ROW", 2**20 // 3)
    monkeypatch.setattr("recall_lightning.data.readers.tabular._BYTES_A_ROW", 2**20 // 2)


@given(
    ROWS, st.lists(st.integers(0, 25), max_size=3), FILTERS, st.sampled_from(["row", "shuffle"]), st.integers(0, 3),
    st.sampled_from(["seconds", "halves", "none"]),
)  # fmt: skip
def test_shards_come_to_what_one_table_comes_to(tmp_path_factory, rows, sizes, filters, ties, seed, times):
    users, items, seconds, weights = (list(column) for column in zip(*rows, strict=True))
    columns = {"user_id": users, "item_id": items, "weight": weights}
    if times != "none":  # half seconds in some row groups alone
        halves = [second + 0.5 * (weight > 2) for second, weight in zip(seconds, weights, strict=True)]
        columns["timestamp"] = halves if times == "halves" else seconds
    folder = tmp_path_factory.mktemp("shards")
    write(folder, pa.table(columns), sizes)
    expected = outcome(folder, "one.parquet", ties, seed, **filters)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recall_lightning.data.room._BYTES_A_ROW", 2**20 // 3)
        patch.setattr("recall_lightning.data.readers.tabular._BYTES_A_ROW", 2**20 // 2)
        assert outcome(folder, "shards", ties, seed, **filters) == expected
