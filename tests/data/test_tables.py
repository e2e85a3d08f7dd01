"""Tables: whatever the format, the same strings come out, and what can't be read says where and how to mend it."""

import csv
import gzip
import io
import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recall_lightning.data.readers.tables import column, read_delimited, read_table
from recall_lightning.data.readers.tabular import Tabular, read_interactions, read_items
from recall_lightning.errors import InputError

COLUMNS = {"user_id": ["ann", "bob", "ann"], "item_id": ["007", "7", "é🎬"], "note": ["", "NA", "null"]}


def as_csv(columns, delimiter=","):
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows([list(columns), *zip(*columns.values(), strict=True)])
    return out.getvalue().encode()


def zst(content):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def as_json_lines(columns):
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    return "\n".join(map(json.dumps, rows)).encode()


def as_parquet(columns):
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


ATOMIC = b"user_id:token\titem_id:token\tnote:token_seq\nann\t007\t\nbob\t7\tNA\nann\t\xc3\xa9\xf0\x9f\x8e\xac\tnull\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", as_csv(COLUMNS)),
        ("T.CSV", as_csv(COLUMNS)),
        ("t.v2.csv", as_csv(COLUMNS)),
        ("t.tsv", as_csv(COLUMNS, "\t")),
        ("t.csv.gz", gzip.compress(as_csv(COLUMNS))),
        ("t.tsv.zst", zst(as_csv(COLUMNS, "\t"))),
        ("t.parquet", as_parquet(COLUMNS)),
        ("t.jsonl", as_json_lines(COLUMNS)),
        ("t.jsonl.gz", gzip.compress(as_json_lines(COLUMNS))),
        ("t.inter", ATOMIC),
        ("t.inter.gz", gzip.compress(ATOMIC)),
    ],
    ids=lambda part: part if isinstance(part, str) else "",  # gzip's bytes hold the time: no id that processes share
)
def test_every_format_gives_the_same_columns(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    table = read_table(tmp_path / name)
    assert {n: column(table, n, tmp_path).to_pylist() for n in table.column_names} == COLUMNS


ODD = ["a,b", 'say "hi"', "two\nlines", "🎬", "000", " 7 ", "1e3", "2000-01-01", "true", "NULL", "'", "a\tb"]


@pytest.mark.parametrize(
    ("name", "write"), [("t.csv", as_csv), ("t.jsonl", as_json_lines), ("t.parquet", as_parquet)]
)  # fmt: skip
def test_odd_ids_come_through_as_they_are(tmp_path, name, write):
    (tmp_path / name).write_bytes(write({"user_id": ODD, "item_id": ODD[::-1]}))
    log = read_interactions(tmp_path / name)
    assert [log.user_ids[u] for u in log.users] == ODD
    assert [log.item_ids[i] for i in log.items] == ODD[::-1]


@pytest.mark.parametrize("name", ["d.jsonl", "d.parquet"])
def test_an_id_that_looks_like_a_date_stays_as_written(tmp_path, name):
    write = as_json_lines if name == "d.jsonl" else as_parquet
    (tmp_path / name).write_bytes(write({"user_id": ["ann", "ann"], "item_id": ["2000-01-01", "2000-01-02"]}))
    assert read_interactions(tmp_path / name).item_ids == ["2000-01-01", "2000-01-02"]


TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\x00"), min_size=1)


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5))
def test_csv_of_any_strings_reads_back_equal(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("any") / "t.csv"
    columns = {"user_id": [user for user, _ in rows], "item_id": [item for _, item in rows]}
    path.write_bytes(as_csv(columns))
    table = read_table(path)
    assert {name: table[name].to_pylist() for name in table.column_names} == columns


def test_no_row_is_lost_whatever_quotes_stand_inside_fields(tmp_path):
    (tmp_path / "t.csv").write_text('user_id,item_id\nann,5" pipe\nbob,a "b" c\ncid,"d ""e"""\n')
    assert read_table(tmp_path / "t.csv")["item_id"].to_pylist() == ['5" pipe', 'a "b" c', 'd "e"']


def test_a_new_line_inside_a_field_may_fall_where_arrow_cuts_the_file_into_blocks(tmp_path):
    items = ["\n" * 1000 + str(i) for i in range(2500)]  # 2.5 MB: blocks are of one
    (tmp_path / "t.csv").write_bytes(as_csv({"item_id": items}))
    assert read_table(tmp_path / "t.csv")["item_id"].to_pylist() == items


def test_a_quote_in_an_atomic_file_is_a_character(tmp_path):
    (tmp_path / "t.item").write_text('item_id:token\ttitle:token_seq\n1\t"Heat\n2\tAlien"\n')
    assert read_table(tmp_path / "t.item")["title"].to_pylist() == ['"Heat', 'Alien"']


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path, name):
    write = as_csv if name == "t.csv" else as_json_lines
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + write(COLUMNS))
    assert read_table(tmp_path / name).column_names == ["user_id", "item_id", "note"]


def test_windows_line_ends_are_no_part_of_the_last_field(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"user_id,item_id\r\nann,1\r\nbob,2\r\n")
    assert read_table(tmp_path / "t.csv").to_pydict() == {"user_id": ["ann", "bob"], "item_id": ["1", "2"]}


@pytest.mark.parametrize(
    ("name", "content"),
    [("t.csv", "user_id,item_id\nann,é\n"), ("t.jsonl", '{"user_id": "ann", "item_id": "é"}\n')],
)
def test_latin_1_is_read_by_option_and_told_without(tmp_path, name, content):
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=re.escape(name) + ": the text is not utf-8. Give its encoding, such as lat"):
        read_interactions(tmp_path / name)
    assert read_interactions(tmp_path / name, encoding="latin-1").item_ids == ["é"]
    assert Tabular(str(tmp_path / name), "", encoding="latin-1").read_interactions().item_ids == ["é"]


def test_latin_1_in_the_header_is_told_too(tmp_path):
    (tmp_path / "t.csv").write_bytes("user_id,item_id,prénom\na,b,c\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"t\.csv: the text is not utf-8"):
        read_table(tmp_path / "t.csv")


def test_an_unknown_encoding_is_told_as_an_input_error(tmp_path):
    (tmp_path / "t.csv").write_text("user_id,item_id\nann,1\n")
    with pytest.raises(InputError, match=r"t\.csv: the text is not latin-x\. Give its encoding"):
        read_table(tmp_path / "t.csv", encoding="latin-x")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.csv: no such file\. Check the path"):
        read_table(tmp_path / "gone.csv")


H = "user_id,item_id,timestamp\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.csv", "", "r.csv: the file is empty. It needs a header row"),
        ("r.parquet", "", "r.parquet: the file is empty. It needs"),
        ("r.csv", "\n\n", "r.csv: no row after the header. Each"),
        ("r.csv", "user_id,item_id\n", "r.csv: no row after the header. Each"),
        ("r.csv", "user_id,item_id", "r.csv: no row after the header. Each"),
        ("r.jsonl", "\n", "r.jsonl: no row after the header. Each"),
        ("r.csv", "user,item_id\na,b\n", "r.csv, row 1: no column 'user_id', only user, item_id. Rename one"),
        ("r.csv", "user_id;item_id\na;b\n", "r.csv, row 1: no column 'user_id', only user_id;item_id"),
        ("r.csv", H + "a,b,1\nc,d\n", "r.csv, row 3: 2 fields, but the header has 3. Fill in the missing"),
        ("r.csv", H + "a,b,1\nc,d,1,2\ne,f,3\n", "r.csv, row 3: 4 fields, but the header has 3. Quote a field"),
        ("r.csv", H + 'a,"b,1\nc,d,2\n', "r.csv, row 2: 2 fields, but the header has 3. Fill in the missing fields, or "
         "take out the stray quote that joins rows"),
        ("r.inter", "user_id:token\titem_id:token\na\tb\nc\n", "r.inter, row 3: 1 fields, but the header has 2"),
        ("r.csv", "user_id,item_id,item_id\na,b,c\n", "r.csv, row 1: column 'item_id' stands twice in the header."),
        ("r.inter", "user_id:token\titem_id:token\titem_id:float\na\tb\t1\n", "r.inter, row 1: column 'item_id' stand"),
        ("r.parquet", "no Parquet", "r.parquet: no readable Parquet file"),
        ("r.csv.gz", "no gzip", "r.csv.gz: not readable as a table (zlib inflate failed: incorrect"),
        ("r.csv.zst", "no zstd", "r.csv.zst: not readable as a table (ZSTD decompress failed"),
        ("r.jsonl.gz", "no gzip", "r.jsonl.gz: not readable as a table (zlib"),
        ("r.jsonl", '{"user_id": "a", "item_id": "b"}\n\n{"user_id": \n', "r.jsonl, row 3: no JSON object (Exp"),
        ("r.jsonl", '{"user_id": "a", "item_id": "b"}\n5\n', "r.jsonl, row 2: 5 is no JSON object. Each line must"),
        ("r.jsonl", '{"user_id": "a", "item_id": "b"}\n{"user_id": 5, "item_id": "b"}', "r.jsonl, row 2: 'user_id' is"),
        ("r.xlsx", "PK", "r.xlsx: '.xlsx' is no known kind of table. Known endings: .csv"),
        ("ratings", "a", "ratings: 'ratings' is no known kind of table. Known endings: .csv"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_in_one_line_where_and_how_to_mend_it(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=re.escape(str(tmp_path / message))) as caught:
        read_interactions(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_column_that_stands_twice_in_parquet_is_told(tmp_path):
    pq.write_table(pa.table([["a"], ["b"], ["c"]], names=["user_id", "item_id", "item_id"]), tmp_path / "r.parquet")
    with pytest.raises(InputError, match=r"r\.parquet: .*duplicate field names"):
        read_table(tmp_path / "r.parquet")


def test_items_without_a_row_are_told(tmp_path):
    (tmp_path / "items.csv").write_text("item_id,title\n")
    with pytest.raises(InputError, match=r"items\.csv: no row after the header\. Each item needs one"):
        read_items(tmp_path / "items.csv", "{title}")


def test_items_without_ids_are_told_before_their_text_is(tmp_path):
    (tmp_path / "items.csv").write_text("name\nHeat\n")
    with pytest.raises(InputError, match=r"items\.csv, row 1: no column 'item_id', only name"):
        read_items(tmp_path / "items.csv", "{title}")


def test_a_list_of_values_becomes_text_and_columns_out_of_use_may_be_anything(tmp_path):
    line = '{"item_id": "1", "title": "Heat", "genres": ["Crime", "Drama"], "stars": {"mean": 4}, "more": [{"a": 1}]}'
    (tmp_path / "items.jsonl").write_text(line + '\n{"item_id": "2", "title": "Alien"}\n')
    assert read_items(tmp_path / "items.jsonl", "{title}. {genres}").texts == ["Heat. Crime, Drama", "Alien"]


def test_a_column_in_use_that_is_no_text_is_told(tmp_path):
    (tmp_path / "items.jsonl").write_text('{"item_id": "1", "title": {"en": "Heat"}}\n')
    with pytest.raises(InputError, match=r"items\.jsonl: column 'title' can't be read as text \(it holds struct"):
        read_items(tmp_path / "items.jsonl", "{title}")


def test_a_parquet_column_of_categories_or_numbers_gives_strings(tmp_path):
    table = pa.table({"user_id": pa.array(["7", "07"]).dictionary_encode(), "item_id": [1, 2]})
    pq.write_table(table, tmp_path / "r.parquet")
    log = read_interactions(tmp_path / "r.parquet")
    assert (log.user_ids, log.item_ids) == (["7", "07"], ["1", "2"])


def test_fields_may_be_parted_by_two_characters(tmp_path):
    (tmp_path / "ratings.dat").write_text("1::Alien: Resurrection\n2::Heat\n")
    table = read_delimited(tmp_path / "ratings.dat", "::", quoted=False, names=["item_id", "title"])
    assert table.to_pydict() == {"item_id": ["1", "2"], "title": ["Alien: Resurrection", "Heat"]}
