"""A user's own tables: named as they like, and with ids that come through untouched."""

import csv
import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recall_lightning.data.readers.tabular import Tabular
from recall_lightning.errors import InputError

IDS = ["a,b", 'say "hi"', "two\nlines", "🎬", "007", "7"]


def as_csv(columns):
    out = io.StringIO()
    csv.writer(out).writerows([list(columns), *zip(*columns.values(), strict=True)])
    return out.getvalue().encode()


def as_json_lines(columns):
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    return "\n".join(map(json.dumps, rows)).encode()


def as_parquet(columns):
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def zst(content):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("share", [0, 0.01])
@pytest.mark.parametrize(
    ("ending", "write"),
    [
        (".csv", as_csv),
        (".csv.gz", lambda columns: gzip.compress(as_csv(columns))),
        (".csv.zst", lambda columns: zst(as_csv(columns))),
        (".jsonl", as_json_lines),
        (".jsonl.gz", lambda columns: gzip.compress(as_json_lines(columns))),
        (".jsonl.zst", lambda columns: zst(as_json_lines(columns))),
        (".parquet", as_parquet),
    ],
)
def test_ids_come_through_intact_from_every_format(tmp_path, ending, write, share):
    interactions, items, users = (tmp_path / (name + ending) for name in ("r", "i", "u"))
    interactions.write_bytes(write({"user_id": IDS, "item_id": IDS[::-1]}))
    items.write_bytes(write({"item_id": IDS, "title": ["Heat"] * len(IDS)}))
    users.write_bytes(write({"user_id": IDS, "city": IDS[::-1]}))
    reader = Tabular(str(interactions), str(items), users=str(users), max_broken_share=share)
    log = reader.read_interactions()
    assert [log.user_ids[u] for u in log.users] == IDS
    assert [log.item_ids[i] for i in log.items] == IDS[::-1]
    assert reader.read_items("{title}").ids == IDS
    assert reader.read_users().column("city", IDS) == IDS[::-1]
    assert reader.broken == []


def named(folder, **options):
    (folder / "r.csv").write_text("who,asin,at,stars\nann,007,5,4.5\n")
    (folder / "i.csv").write_text("asin,title\n007,Heat\n")
    (folder / "u.csv").write_text("who,age\nann,30\n")
    names = {"user_column": "who", "item_column": "asin", "time_column": "at", "weight_column": "stars"}
    return Tabular(str(folder / "r.csv"), str(folder / "i.csv"), users=str(folder / "u.csv"), **{**names, **options})


def test_columns_may_have_names_of_their_own(tmp_path):
    reader = named(tmp_path)
    log = reader.read_interactions()
    assert (log.user_ids, log.item_ids, log.times.tolist(), log.weights.tolist()) == (["ann"], ["007"], [5], [4.5])
    assert reader.read_items("{title}").ids == ["007"]
    assert reader.read_users().column("age", ["ann"]) == ["30"]


@pytest.mark.parametrize("option", ["user_column", "item_column", "time_column", "weight_column"])
def test_a_column_asked_for_by_name_must_be_there(tmp_path, option):
    with pytest.raises(InputError, match=r"r\.csv, row 1: no column 'gone', only who, asin, at, stars"):
        named(tmp_path, **{option: "gone"}).read_interactions()


def test_messages_name_the_columns_as_the_file_does(tmp_path):
    reader = named(tmp_path)
    (tmp_path / "r.csv").write_text("who,asin,at,stars\nann,007,soon,4.5\n")
    with pytest.raises(InputError, match=r"r\.csv, row 2: at 'soon' is neither seconds nor ISO 8601"):
        reader.read_interactions()
    (tmp_path / "i.csv").write_text("asin,title\n,Heat\n")
    with pytest.raises(InputError, match=r"i\.csv, row 2: asin is empty"):
        reader.read_items("{title}")
