"""Interactions in shards: whatever memory may hold of them at once, they come to what one table in memory comes to."""

import itertools
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recall_lightning import MovieLens, RecallDataModule, Tabular
from recall_lightning.data import preparing
from recall_lightning.data.filters import Filters
from recall_lightning.data.popularity import popularity_by_place
from recall_lightning.data.preparing import prepare
from recall_lightning.data.readers import tabular
from recall_lightning.data.room import Room
from recall_lightning.data.splits import Splits
from recall_lightning.data.successors import neighbours, successors
from recall_lightning.errors import InputError

ITEMS = "item_id,title\n" + "".join(f"{item},{item}\n" for item in "abcdefg")  # h has no text

ROWS = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob", "007", "7"]), st.sampled_from("abcdh"), st.integers(-2, 5),
        st.sampled_from([1.0, 2.5, 4.0]),
    ),
    min_size=1, max_size=40,
)  # fmt: skip
FILTERS = st.fixed_dictionaries(
    {"missing_text": st.sampled_from(["drop", "drop", "error"]), "repeats": st.sampled_from(["first", "last"])},
    optional={
        "min_weight": st.just(2.0), "since": st.just(0), "until": st.just(4), "min_interactions": st.integers(1, 3),
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


@given(
    ROWS, st.lists(st.integers(0, 25), max_size=3), FILTERS, st.sampled_from(["row", "shuffle"]), st.integers(0, 3),
    st.sampled_from(["seconds", "halves", "large", "none"]),
)  # fmt: skip
def test_shards_come_to_what_one_table_comes_to(tmp_path_factory, rows, sizes, filters, ties, seed, times):
    users, items, seconds, weights = (list(column) for column in zip(*rows, strict=True))
    columns = {"user_id": users, "item_id": items, "weight": weights}
    if times == "seconds":
        columns["timestamp"] = list(seconds)
    if times == "halves":  # in some row groups alone
        columns["timestamp"] = [second + 0.5 * (weight > 2) for second, weight in zip(seconds, weights, strict=True)]
    if times == "large":  # two of them would be the same as floats
        columns["timestamp"] = [second + 2**60 for second in seconds]
    folder = tmp_path_factory.mktemp("shards")
    write(folder, pa.table(columns), sizes)
    expected = outcome(folder, "one.parquet", ties, seed, **filters)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recall_lightning.data.room._BYTES_A_ROW", 2**20 // 3)
        patch.setattr("recall_lightning.data.readers.tabular._BYTES_A_ROW", 2**20 // 2)
        assert outcome(folder, "shards", ties, seed, **filters) == expected


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Eight interactions in shards, of which three are in memory at once."""
    monkeypatch.setattr("recall_lightning.data.room._BYTES_A_ROW", 2**20 // 3)
    monkeypatch.setattr("recall_lightning.data.readers.tabular._BYTES_A_ROW", 2**20 // 2)
    users, items = ["ann", "bob", "ann", "cid", "bob", "ann", "dee", "cid"], list("abcabdaa")
    write(tmp_path, pa.table({"user_id": users, "item_id": items, "timestamp": range(8)}), [2, 5])
    return tmp_path


class Counting(Tabular):
    reads = 0

    def _parts(self, shards):
        type(self).reads += 1
        return super()._parts(shards)


def prepared(folder, **filters):
    reader = Counting(str(folder / "shards"), str(folder / "items.csv"), memory_mb=1)
    return prepare(reader, "{title}", Filters(**filters), "row", 0, folder / "cache")


def test_the_second_time_shards_are_not_read_and_all_is_the_same(folder, monkeypatch):
    monkeypatch.setattr(Counting, "reads", 0)
    first, again = prepared(folder), prepared(folder)
    assert Counting.reads == 1
    assert first.interactions.items.tolist() == again.interactions.items.tolist()
    assert first.interactions.user_ids == again.interactions.user_ids
    assert first.interactions.room is not None


@pytest.mark.parametrize("shard", ["0.parquet", "new.parquet"])
def test_a_shard_that_was_written_again_or_is_new_has_all_read_anew(folder, monkeypatch, shard):
    monkeypatch.setattr(Counting, "reads", 0)
    assert prepared(folder).n_read == 8
    pq.write_table(
        pa.table({"user_id": ["fay"] * 3, "item_id": list("abc"), "timestamp": [7] * 3}), folder / "shards" / shard
    )
    assert prepared(folder).n_read == (11 if shard == "new.parquet" else 9)  # the first shard had two rows
    assert Counting.reads == 2


@pytest.mark.parametrize("longer", [False, True], ids=["time", "size"])
def test_time_of_change_and_size_each_tell_a_shard_from_the_former(folder, monkeypatch, longer):
    monkeypatch.setattr(Counting, "reads", 0)
    prepared(folder)
    shard = folder / "shards" / "0.parquet"
    before = shard.stat()
    if longer:
        pq.write_table(pq.read_table(shard).append_column("more", [["of no interest"] * 2]), shard)
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns + (not longer)))
    prepared(folder)
    assert Counting.reads == 2


def test_a_shard_that_comes_while_others_are_looked_at_is_neither_read_nor_taken_for_read(folder, monkeypatch):
    looked = tabular.check_shards

    def late(shards, columns):
        n_rows = looked(shards, columns)
        table = pa.table({"user_id": ["fay"] * 3, "item_id": list("abc"), "timestamp": [7] * 3})
        pq.write_table(table, folder / "shards" / "late.parquet")
        return n_rows

    with monkeypatch.context() as patch:
        patch.setattr(tabular, "check_shards", late)
        assert prepared(folder).n_read == 8
    assert prepared(folder).n_read == 11


def test_another_budget_and_a_file_beside_the_shards_change_nothing(folder, monkeypatch):
    monkeypatch.setattr(Counting, "reads", 0)
    prepared(folder)
    (folder / "shards" / "_SUCCESS").write_text("")
    reader = Counting(str(folder / "shards"), str(folder / "items.csv"), memory_mb=2)
    prepare(reader, "{title}", Filters(), "row", 0, folder / "cache")
    assert Counting.reads == 1


def test_what_a_killed_process_left_is_removed_and_a_prepared_cache_needs_no_lock(folder, monkeypatch):
    first = prepared(folder)
    (made,) = (path for path in (folder / "cache").iterdir() if path.is_dir())
    left = folder / "cache" / f".{made.name}.x.part"
    made.rename(left)
    assert prepared(folder).interactions.user_ids == first.interactions.user_ids
    assert not left.exists()
    monkeypatch.setattr(preparing, "FileLock", None)
    prepared(folder)


def test_a_cache_that_can_not_be_written_to_is_told(folder):
    (folder / "cache").write_text("a file")
    with pytest.raises(InputError, match=r"can't be written to .*data\.cache_dir"):
        prepared(folder)


def test_processes_that_start_together_prepare_once_and_share_the_files(folder, monkeypatch):
    monkeypatch.setattr(Counting, "reads", 0)
    with ThreadPoolExecutor(4) as pool:  # each holds a lock of its own, as processes do
        made = list(pool.map(lambda _: prepared(folder), range(4)))
    assert Counting.reads == 1
    assert len({tuple(each.interactions.items.tolist()) for each in made}) == 1


def test_an_error_leaves_nothing_but_the_lock(folder):
    with pytest.raises(InputError, match="no user is left"):
        prepared(folder, min_interactions=100)
    assert [path.suffix for path in (folder / "cache").iterdir()] == [".lock"]


@pytest.mark.parametrize("name", ["leave_last_out", "temporal", "cold_users", "new_items"])
def test_movielens_in_shards_gives_the_same_batches(movielens, tiny_encoder, tmp_path_factory, name):
    """All 100,000 ratings, 5,000 in memory at once: parts, cases, statistics, and batches of all kinds."""
    folder = tmp_path_factory.getbasetemp() / "movielens-in-shards"
    if not folder.exists():
        log = MovieLens(str(movielens)).read_interactions()
        catalogue = MovieLens(str(movielens)).read_items("{title}")
        table = pa.table({
            "user_id": pa.array(log.user_ids).take(pa.array(log.users)), "timestamp": log.times,
            "item_id": pa.array(log.item_ids).take(pa.array(log.items)), "weight": log.weights,
        })  # fmt: skip
        write(folder, table, [20_000, 20_500, 70_000])
        pq.write_table(pa.table({"item_id": catalogue.ids, "title": catalogue.texts}), folder / "items.parquet")

    def data_of(interactions):
        reader = Tabular(str(folder / interactions), str(folder / "items.parquet"), memory_mb=1)
        data = RecallDataModule(
            reader, "{title}", str(tiny_encoder), Splits(name, k=3), ties="shuffle", min_weight=2, min_interactions=10,
            min_users=5, catalogue_items="interacted", n_negatives=10, max_encoded_items=50,
        )  # fmt: skip
        data.setup()
        return data

    table, shards = data_of("one.parquet"), data_of("shards")
    assert (table.interactions.room, len(list(shards.interactions.blocks())) > 10) == (None, True)
    assert equal(table.split, shards.split)
    assert equal([table.counts, table.sequences], [shards.counts, shards.sequences])
    ours, theirs = shards.split.train, table.split.train
    n = len(table.catalogue)
    assert equal(popularity_by_place(ours, n), popularity_by_place(theirs, n))
    assert equal(successors(ours, n, window=10, most=256), successors(theirs, n, window=10, most=256))
    assert equal(neighbours(ours, n, window=20, most=64), neighbours(theirs, n, window=20, most=64))
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        for a, b in itertools.islice(zip(getattr(table, loader)(), getattr(shards, loader)(), strict=True), 5):
            assert equal(a, b)


def equal(a, b):
    """Whether all arrays, tensors and plain values of two structures are the same, and of the same types."""
    if isinstance(a, Room) or isinstance(b, Room):
        return True
    if isinstance(a, np.ndarray | torch.Tensor):
        return a.dtype == b.dtype and a.tolist() == b.tolist()
    if is_dataclass(a):
        return all(equal(getattr(a, field.name), getattr(b, field.name)) for field in fields(a))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and a and not isinstance(a[0], str):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b
