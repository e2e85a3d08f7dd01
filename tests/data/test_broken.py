"""Broken rows: an error by default, and where some are allowed left out, counted and told."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recall_lightning.data.readers.broken import BrokenRows, Sieve
from recall_lightning.data.readers.tabular import Tabular
from recall_lightning.errors import InputError

HEADER = "user_id,item_id,timestamp,weight"


def tabular(folder, lines, share=0.9, name="r.csv"):
    (folder / name).write_text("\n".join(lines) + "\n")
    return Tabular(str(folder / name), "", max_broken_share=share)


def rows(log):
    return [(log.user_ids[u], log.item_ids[i]) for u, i in zip(log.users, log.items, strict=True)]


def test_a_count_of_broken_rows_reads_as_a_line():
    told = BrokenRows("books.csv", 271379, 4, "9 fields where the header has 8", (6453, 43668, 51752))
    assert str(told) == (
        "books.csv: 4 of 271,379 rows left out: 9 fields where the header has 8 (rows 6453, 43668, 51752, ...)"
    )
    assert str(BrokenRows("r.csv", 7, 1, "user_id is empty", (3,))) == (
        "r.csv: 1 of 7 rows left out: user_id is empty (row 3)"
    )


def test_every_kind_of_broken_row_is_left_out_and_counted_by_its_line(tmp_path):
    reader = tabular(
        tmp_path,
        [HEADER, "ann,007,1,5", "", "ann,7", ",7,1,5", "bob,,1,5", "bob,7,soon,5", "bob,8,2,good", "cy,7,3,4",
         "cy,1,2,3,4"],
    )  # fmt: skip
    log = reader.read_interactions()
    assert rows(log) == [("ann", "007"), ("cy", "7")]
    assert (log.times.tolist(), log.weights.tolist()) == ([1, 3], [5, 4])
    assert [(b.reason, b.rows, b.dropped, b.lines) for b in reader.broken] == [
        ("2 fields where the header has 4", 8, 1, (4,)),
        ("5 fields where the header has 4", 8, 1, (10,)),
        ("user_id is empty", 8, 1, (5,)),
        ("item_id is empty", 8, 1, (6,)),
        ("timestamp is neither seconds nor ISO 8601", 8, 1, (7,)),
        ("weight is no number", 8, 1, (8,)),
    ]


def test_a_row_with_two_faults_counts_once(tmp_path):
    reader = tabular(tmp_path, [HEADER, "ann,7,1,5", ",,soon,good"])
    reader.read_interactions()
    assert [(b.rows, b.dropped, b.reason) for b in reader.broken] == [(2, 1, "user_id is empty")]


LINE = st.sampled_from(
    ["ann,7,1,5", "bob,8,2001-01-01,4", "ann,7", ",7,1,5", "a,,1,5", "a,7,?,5", "a,7,1,?", "a,b,c,d,e"]
)


@given(st.lists(LINE, min_size=1, max_size=12))
def test_rows_add_up(tmp_path_factory, lines):
    reader = tabular(tmp_path_factory.mktemp("any"), [HEADER, "cy,1,1,1", *lines], share=1)
    kept = len(reader.read_interactions())
    assert kept == 1 + sum(line.startswith(("ann,7,", "bob")) for line in lines)
    assert kept + sum(b.dropped for b in reader.broken) == 1 + len(lines)
    assert {b.rows for b in reader.broken} <= {1 + len(lines)}
    for broken in reader.broken:
        assert len(broken.lines) == min(3, broken.dropped)


def test_lines_that_a_stray_quote_joins_count_each(tmp_path):
    reader = tabular(tmp_path, ["user_id,item_id", "ann,1", 'ann,"2', "ann,3", "ann,4", 'bob,5"6,7', "cy,8"])
    assert rows(reader.read_interactions()) == [("ann", "1"), ("cy", "8")]
    assert [(b.rows, b.dropped, b.lines) for b in reader.broken] == [(6, 4, (3,))]


def test_reading_twice_does_not_count_twice(tmp_path):
    reader = tabular(tmp_path, [HEADER, "ann,7,1,5", "bob"])
    for _ in range(2):
        reader.read_interactions()
        assert [b.dropped for b in reader.broken] == [1]
    (tmp_path / "r.csv").write_text(HEADER + "\nann,7,1,5\n")
    reader.read_interactions()
    assert reader.broken == []


def test_more_than_the_allowed_share_is_an_error_that_names_the_first_three_and_both_cures(tmp_path):
    lines = [HEADER, "ann,7,1,5", "bob,7,soon,5", ",7,1,5", "ann,8,1,5", "cy,7", "cy,7,late,5", "cy,8,1,5"]
    with pytest.raises(InputError) as caught:
        tabular(tmp_path, lines, share=0.5).read_interactions()
    assert str(caught.value) == (
        f"{tmp_path}/r.csv: 4 of 7 rows (57.14%) are broken, but data.reader.init_args.max_broken_share allows 50.00%: "
        "row 3: timestamp 'soon' is neither seconds nor ISO 8601; row 4: user_id is empty; "
        "row 6: 2 fields where the header has 4. Mend the rows, or raise data.reader.init_args.max_broken_share"
    )
    assert len(tabular(tmp_path, lines, share=4 / 7).read_interactions()) == 3


def test_a_file_of_broken_rows_alone_is_an_error_whatever_is_allowed(tmp_path):
    for lines in ([HEADER, "ann", "bob"], [HEADER, ",7,1,5"]):
        with pytest.raises(InputError, match=r"r\.csv: (1 of 1|2 of 2) rows \(100\.00%\) are broken"):
            tabular(tmp_path, lines, share=1).read_interactions()


def test_by_default_the_first_broken_row_is_an_error_with_its_own_cure(tmp_path):
    with pytest.raises(InputError, match=r"r\.csv, row 3: user_id is empty\. Fill it in, or take the row out"):
        tabular(tmp_path, [HEADER, "ann,7,1,5", ",7,1,5"], share=0).read_interactions()


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_outside_of_0_and_1_is_told_before_a_file_is_read(share):
    with pytest.raises(InputError, match=r"data\.reader\.init_args\.max_broken_share is .*between 0 \(none\) and 1"):
        Tabular("r.csv", "i.csv", max_broken_share=share)


def test_lines_of_json_that_cannot_be_used_are_left_out(tmp_path):
    good = {"user_id": "ann", "item_id": "7"}
    lines = [json.dumps(good), "", "{", "5", '{"user_id": 5, "item_id": "7"}', '{"user_id": "bob", "item_id": ""}',
             '{"user_id": "bob", "item_id": "8"}']  # fmt: skip
    reader = tabular(tmp_path, lines, name="r.jsonl")
    assert rows(reader.read_interactions()) == [("ann", "7"), ("bob", "8")]
    assert [(b.reason, b.rows, b.dropped, b.lines) for b in reader.broken] == [
        ("no JSON object", 6, 2, (3, 4)),
        ("'user_id' is of another type than above", 6, 1, (5,)),
        ("item_id is empty", 6, 1, (6,)),
    ]


def test_a_line_of_json_in_another_encoding_is_left_out(tmp_path):
    lines = [
        b'{"user_id": "ann", "item_id": "7"}',
        b'{"user_id": "\xe9", "item_id": "7"}',
        b'{"user_id": "bob", "item_id": "8"}',
    ]
    (tmp_path / "r.jsonl").write_bytes(b"\n".join(lines))
    reader = Tabular(str(tmp_path / "r.jsonl"), "", max_broken_share=0.5)
    assert rows(reader.read_interactions()) == [("ann", "7"), ("bob", "8")]
    assert [str(b) for b in reader.broken] == ["r.jsonl: 1 of 3 rows left out: the text is not utf-8 (row 2)"]


def test_json_of_broken_lines_alone_is_told_as_such(tmp_path):
    with pytest.raises(InputError, match=r"r\.jsonl: 2 of 2 rows \(100\.00%\) are broken.*row 1: no JSON object"):
        tabular(tmp_path, ["{", "["], share=1, name="r.jsonl").read_interactions()


def test_parquet_rows_without_id_or_time_are_left_out(tmp_path):
    table = pa.table({"user_id": ["a", None, "c", "d"], "item_id": ["1"] * 4, "timestamp": [1, 2, None, 4]})
    pq.write_table(table, tmp_path / "r.parquet")
    reader = Tabular(str(tmp_path / "r.parquet"), "", max_broken_share=0.5)
    log = reader.read_interactions()
    assert (rows(log), log.times.tolist()) == ([("a", "1"), ("d", "1")], [1, 4])
    assert log.times.dtype == np.int64
    assert [b.lines for b in reader.broken] == [(3,), (4,)]


def test_items_and_users_without_id_are_left_out_too(tmp_path):
    (tmp_path / "i.csv").write_text("item_id,title\n7,Heat\n,Alien\n8\n9,Brazil\n")
    (tmp_path / "u.csv").write_text("user_id,age\nann,30\n,31\nann,32\nbob,33\n")
    reader = Tabular("", str(tmp_path / "i.csv"), users=str(tmp_path / "u.csv"), max_broken_share=0.5)
    assert reader.read_items("{title}").ids == ["7", "9"]
    assert reader.read_users().columns == {"age": ["30", "33"]}
    assert [str(b) for b in reader.broken] == [
        "i.csv: 1 of 4 rows left out: 1 fields where the header has 2 (row 4)",
        "i.csv: 1 of 4 rows left out: item_id is empty (row 3)",
        "u.csv: 1 of 4 rows left out: user_id is empty (row 3)",
        "u.csv: 1 of 4 rows left out: the user has a row above (row 4)",
    ]


def test_two_texts_of_one_item_name_their_lines_behind_broken_rows(tmp_path):
    (tmp_path / "i.csv").write_text("item_id,title\n1\n7,Heat\n,Alien\n7,Brazil\n")
    with pytest.raises(InputError, match=r"row 5: item '7' has another text than in row 3"):
        Tabular("", str(tmp_path / "i.csv"), max_broken_share=0.5).read_items("{title}")
    (tmp_path / "i.csv").write_text("item_id,title\n1\n7,Heat\n7,Brazil\n")
    with pytest.raises(InputError, match=r"row 4: item '7' has another text than in row 3"):
        Tabular("", str(tmp_path / "i.csv"), max_broken_share=0.5).read_items("{title}")


@given(st.lists(st.booleans(), min_size=1, max_size=9), st.lists(st.booleans(), min_size=9, max_size=9))
def test_a_kept_row_is_found_in_its_file_whatever_was_left_out(tmp_path_factory, read, usable):
    sieve = Sieve(tmp_path_factory.getbasetemp() / "r.csv", 1.0, line_of=lambda place: place + 2)
    for place in np.flatnonzero(~np.array(read)):
        sieve.refuse(int(place), "unread", "")
    lines = [place + 2 for place, ok in enumerate(read) if ok]
    table = pa.table({"line": pa.array(lines, pa.int64())})
    kept = sieve.sift(table, np.array(usable[: len(lines)], bool), "unfit", "")["line"].to_pylist()
    assert [sieve.line(row) for row in range(len(kept))] == kept


def test_whole_seconds_keep_every_digit_beside_a_broken_one(tmp_path):
    reader = tabular(tmp_path, [HEADER, "ann,1,900719925474099301,1", "ann,2,soon,1", "ann,3,900719925474099302,1"])
    assert reader.read_interactions().times.tolist() == [900719925474099301, 900719925474099302]


def test_a_byte_order_mark_breaks_no_line(tmp_path):
    reader = tabular(tmp_path, ['\ufeff{"user_id": "ann", "item_id": "7"}', "{"], name="r.jsonl")
    assert rows(reader.read_interactions()) == [("ann", "7")]


def test_a_quote_may_join_more_text_than_pythons_csv_allows_in_a_field(tmp_path):
    joined = ['ann,"2', *["ann,3"] * 30_000, 'ann,4",5']
    reader = tabular(tmp_path, ["user_id,item_id", "ann,1", *joined, "bob"], share=1)
    assert rows(reader.read_interactions()) == [("ann", "1")]
    assert [(b.rows, b.dropped, b.lines) for b in reader.broken] == [(30_004, 30_002, (3,)), (30_004, 1, (30_005,))]


def test_a_quote_that_is_never_closed_in_a_large_file_is_told(tmp_path):
    lines = ["user_id,item_id", 'ann,"1', *["ann,1"] * 500_000]
    with pytest.raises(InputError, match=r"r\.csv: a field is longer than 1 MB\. Look for a quote that is never clo"):
        tabular(tmp_path, lines).read_interactions()
