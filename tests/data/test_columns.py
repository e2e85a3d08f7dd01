"""Columns: times and weights as numbers, ids as they are, and every cell that is neither named by its row."""

import re
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recall_lightning.data.readers.tabular import read_interactions
from recall_lightning.errors import InputError


def typed(folder, rows, header="user_id,item_id,timestamp"):
    (folder / "ratings.csv").write_text("\n".join([header, *rows]) + "\n")
    return read_interactions(folder / "ratings.csv")


def timed(folder, *times):
    return typed(folder, [f"ann,{i},{time}" for i, time in enumerate(times)]).times


def parquet(folder, **columns):
    n = len(next(iter(columns.values())))
    ids = {"user_id": ["ann"] * n, "item_id": [str(i) for i in range(n)]}
    pq.write_table(pa.table({**ids, **columns}), folder / "ratings.parquet")
    return read_interactions(folder / "ratings.parquet")


def test_rows_come_in_the_files_order_with_ids_by_appearance(tmp_path):
    log = typed(tmp_path, ["bob,007,5", "ann,7,4", "bob,7,3"])
    assert (log.source, len(log)) == ("ratings.csv", 3)
    assert (log.user_ids, log.item_ids) == (["bob", "ann"], ["007", "7"])
    assert (log.users.tolist(), log.items.tolist(), log.times.tolist()) == ([0, 1, 0], [0, 1, 1], [5, 4, 3])


def test_without_time_and_weight_there_are_none(tmp_path):
    log = typed(tmp_path, ["ann,007"], header="user_id,item_id")
    assert log.times is None
    assert log.weights is None


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        (["978300760", "-5", " 7 ", "+8"], [978300760, -5, 7, 8]),
        (["978300760.0", "2e3"], [978300760, 2000]),
        (["1.5", "-.25", "3"], [1.5, -0.25, 3.0]),
        (["2000-12-31T22:12:40"], [978300760]),
        (["2000-12-31 22:12:40"], [978300760]),
        (["2000-12-31"], [978220800]),
        (["2000-12-31T22:12:40Z", "2000-12-31T23:12:40+01:00", "2000-12-31T17:42:40-04:30"], [978300760] * 3),
        (["2000-12-31T22:12:40.25", "2000-12-31T22:12:40.75Z"], [978300760.25, 978300760.75]),
        (["1969-12-31T23:59:59", "1969-12-31T23:59:59Z"], [-1, -1]),
        (["978300760", "2000-12-31T22:12:41", "978300762.0"], [978300760, 978300761, 978300762]),
    ],
)
def test_a_time_is_seconds_or_iso_8601_and_utc_where_no_zone_is_named(tmp_path, times, seconds):
    read = timed(tmp_path, *times)
    assert read.tolist() == seconds
    assert read.dtype == (np.float64 if any(second % 1 for second in seconds) else np.int64)


@given(st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)), st.sampled_from(["", "Z", "+05:30", "-08:00"]))
def test_iso_times_agree_with_subtracting_the_epoch(tmp_path_factory, moment, zone):
    away = timedelta(hours={"": 0, "Z": 0, "+05:30": 5.5, "-08:00": -8}[zone])
    expected = (moment - away - datetime(1970, 1, 1)) / timedelta(seconds=1)
    read = timed(tmp_path_factory.mktemp("iso"), moment.isoformat() + zone)
    assert read.tolist() == [pytest.approx(expected, abs=1e-6)]


def test_whole_seconds_keep_every_digit(tmp_path):
    assert timed(tmp_path, "900719925474099301", "900719925474099302").tolist() == [
        900719925474099301,
        900719925474099302,
    ]


def test_an_unreadable_date_names_the_row_and_the_cure(tmp_path):
    (tmp_path / "ratings.csv").write_text("user_id,item_id,timestamp\nann,007,31/12/2000\n")
    with pytest.raises(InputError, match=r"ratings\.csv, row 2: timestamp '31/12/2000'.*ISO 8601") as caught:
        read_interactions(tmp_path / "ratings.csv")
    assert str(caught.value).endswith(
        "ratings.csv, row 2: timestamp '31/12/2000' is neither seconds nor ISO 8601. Write 978300760 or "
        "2000-12-31T22:12:40, or drop the column: then row order is time order"
    )


@pytest.mark.parametrize("wrong", ["", "soon", "nan", "inf", "12 o'clock", "1_000"])
def test_a_time_that_is_none_is_told_by_its_row_among_good_ones(tmp_path, wrong):
    with pytest.raises(InputError, match=f"row 4: timestamp {wrong!r} is neither"):
        timed(tmp_path, "978300760", "2000-12-31", wrong, "5")


@pytest.mark.parametrize(
    ("column", "seconds"),
    [
        (pa.array([5, -6]), [5, -6]),
        (pa.array([1.5, 978300760.0]), [1.5, 978300760.0]),
        (pa.array(["2000-12-31T22:12:40", "7"]), [978300760, 7]),
        (pa.array([date(1970, 1, 2), date(1969, 12, 31)]), [86400, -86400]),
        (pa.array([0, 1500], pa.timestamp("ms")), [0, 1.5]),
        (pa.array([1, 2], pa.timestamp("s")), [1, 2]),
        (pa.array([1_000_000_000, 2_000_000_001], pa.timestamp("ns")), [1, 2]),  # finer than a microsecond is dropped
        (pa.array([datetime(2000, 12, 31, 22, 12, 40, tzinfo=UTC)], pa.timestamp("us", "Asia/Tokyo")), [978300760]),
    ],
)
def test_parquet_may_hold_times_of_any_kind(tmp_path, column, seconds):
    assert parquet(tmp_path, timestamp=column).times.tolist() == seconds


@pytest.mark.parametrize(
    "column", [pa.array([1, None]), pa.array([1.5, float("nan")]), pa.array([1, None], pa.timestamp("ns"))]
)
def test_a_missing_time_in_parquet_is_told_by_its_row(tmp_path, column):
    with pytest.raises(InputError, match=r"ratings\.parquet, row 3: timestamp .* is neither seconds nor ISO 8601"):
        parquet(tmp_path, timestamp=column)


def test_weights_are_numbers(tmp_path):
    log = typed(tmp_path, ["ann,1,4.5", "ann,2, 3 ", "ann,3,-1e1"], header="user_id,item_id,weight")
    assert log.weights.tolist() == [4.5, 3.0, -10.0]


@pytest.mark.parametrize("wrong", ["good", "", "nan", "inf", "4,5"])
def test_a_weight_that_is_no_number_is_told_by_its_row(tmp_path, wrong):
    message = re.escape(f"ratings.csv, row 3: weight '{wrong}' is no number. Write one, such as 4.5, or drop the col")
    with pytest.raises(InputError, match=message):
        typed(tmp_path, ["ann,1,4.5", f'ann,2,"{wrong}"', "ann,3,1"], header="user_id,item_id,weight")


def test_a_missing_weight_in_parquet_is_told_by_its_row(tmp_path):
    with pytest.raises(InputError, match=r"ratings\.parquet, row 3: weight None is no number"):
        parquet(tmp_path, weight=pa.array([1, None]))


@pytest.mark.parametrize(("row", "name"), [(",7,1", "user_id"), ("ann,,1", "item_id")])
def test_an_empty_id_is_told_by_its_row(tmp_path, row, name):
    with pytest.raises(InputError, match=rf"ratings\.csv, row 3: {name} is empty\. Fill it in, or take the row out"):
        typed(tmp_path, ["ann,7,1", row])


def test_a_missing_id_in_parquet_is_told_by_its_row(tmp_path):
    pq.write_table(pa.table({"user_id": ["ann", None], "item_id": ["7", "8"]}), tmp_path / "ratings.parquet")
    with pytest.raises(InputError, match=r"ratings\.parquet, row 3: user_id is empty"):
        read_interactions(tmp_path / "ratings.parquet")


@pytest.mark.parametrize("name", ["u.data", "ratings.dat"])
def test_movielens_files_have_no_header_so_their_first_row_is_row_1(tmp_path, name):
    delimiter = "\t" if name == "u.data" else "::"
    (tmp_path / name).write_text(delimiter.join(["1", "7", "5", "soon"]) + "\n")
    with pytest.raises(InputError, match=rf"{re.escape(name)}, row 1: timestamp 'soon'"):
        read_interactions(tmp_path / name)


def test_rows_count_as_an_editor_counts_lines(tmp_path):
    wrong = {
        "blank.csv": ("user_id,item_id,timestamp\n\nann,007,1\n\nann,heat,soon\n", 5),
        "tall.csv": ('user_id,item_id,timestamp\n"ann\nof York",007,1\nann,heat,soon\n', 4),
        "lines.jsonl": ('{"user_id": "ann", "item_id": "007", "timestamp": "1"}\n\n'
                        '{"user_id": "ann", "item_id": "heat", "timestamp": "soon"}\n', 3),
        "u.data": ("ann\t007\t5\t1\nann\theat\t5\tsoon\n", 2),
    }  # fmt: skip
    for name, (text, line) in wrong.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=rf"{name}, row {line}: timestamp 'soon'"):
            read_interactions(tmp_path / name)


def test_a_row_with_too_few_fields_is_told_by_its_line_too(tmp_path):
    (tmp_path / "r.csv").write_text("user_id,item_id\n\nann,007\n\n\nbob\n")
    with pytest.raises(InputError, match=r"r\.csv, row 6: 1 fields, but the header has 2"):
        read_interactions(tmp_path / "r.csv")
