"""Parquet shards as a user has them: which files are meant, and what is said of those that can't be used."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recall_lightning import Tabular
from recall_lightning.errors import InputError

MIB_OF_TWO_ROWS = 2**20 // 2


@pytest.fixture(autouse=True)
def two_rows_at_once(monkeypatch):
    monkeypatch.setattr("recall_lightning.data.readers.tabular._BYTES_A_ROW", MIB_OF_TWO_ROWS)


def shard(path, users, items=None, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"user_id": users, "item_id": items or users, **columns}), path)


def reader(path, **options):
    return Tabular(str(path), "items.csv", memory_mb=1, **options)


def users_of(path):
    log = reader(path).read_interactions()
    return [log.user_ids[user] for user in log.users]


def test_a_folder_means_all_its_parquet_files_in_the_order_of_their_paths(tmp_path):
    for name in ("b/1", "a/2", "a/10", "_temporary/3", ".hidden/4", "a/_5"):
        shard(tmp_path / f"{name}.parquet", [name])
    (tmp_path / "_SUCCESS").touch()
    assert users_of(tmp_path) == ["a/10", "a/2", "b/1"]


def test_a_pattern_means_the_files_that_it_fits(tmp_path):
    for name in ("2023-12", "2024-01", "2024-02"):
        shard(tmp_path / "logs" / f"{name}.parquet", [name])
    assert users_of(tmp_path / "*" / "2024-*.parquet") == ["2024-01", "2024-02"]


def test_ids_are_strings_however_a_shard_writes_them(tmp_path):
    shard(tmp_path / "0.parquet", pa.array([7, 8]), pa.array(["007", "7"]).dictionary_encode())
    shard(tmp_path / "1.parquet", pa.array(["8", "007"]), pa.array([7, 8], pa.int8()))
    log = reader(tmp_path).read_interactions()
    assert (log.user_ids, log.users.tolist()) == (["7", "8", "007"], [0, 1, 1, 2])
    assert (log.item_ids, log.items.tolist()) == (["007", "7", "8"], [0, 1, 1, 2])


def test_a_shard_may_be_empty_but_not_all_of_them(tmp_path):
    shard(tmp_path / "0.parquet", pa.array([], pa.string()), pa.array([], pa.string()))
    with pytest.raises(InputError, match=r"0\.parquet: no row here, nor in any other shard"):
        users_of(tmp_path)
    shard(tmp_path / "1.parquet", ["ann"])
    assert users_of(tmp_path) == ["ann"]


@pytest.mark.parametrize(
    ("name", "told"), [(".", "no Parquet shard .* is in this folder"), ("*.parquet", "no file has")]
)
def test_no_shard_is_an_error(tmp_path, name, told):
    with pytest.raises(InputError, match=f"{told}.*Give a folder or a pattern"):
        users_of(tmp_path / name)


def test_a_file_that_isn_t_there_is_no_pattern(tmp_path):
    with pytest.raises(InputError, match=r"gone\.parquet: no such file"):
        users_of(tmp_path / "gone.parquet")


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"users": ["ann", "bob", "cid", "", "eve"]}, "user_id is empty"),
        ({"users": ["ann", "bob", "cid", None, "eve"]}, "user_id is empty"),
        ({"timestamp": ["1", "2", "3", "31/12/2000", "5"]}, r"timestamp '31/12/2000' is neither seconds nor ISO 8601"),
        ({"weight": [1.0, 2.0, 3.0, float("nan"), 5.0]}, "weight nan is no number"),
    ],
)
def test_a_broken_row_is_told_by_its_shard_and_its_place_in_there(tmp_path, columns, told):
    rest = {name: [values[0]] for name, values in columns.items() if name != "users"}
    shard(tmp_path / "0.parquet", ["ann"], **rest)
    users = columns.get("users", ["ann", "bob", "cid", "dee", "eve"])
    more = {name: values for name, values in columns.items() if name != "users"}
    shard(tmp_path / "1.parquet", users, ["heat"] * 5, **more)
    with pytest.raises(InputError, match=rf"1\.parquet, row 5: {told}"):  # as under a header: the fourth row
        users_of(tmp_path)


def test_broken_rows_are_counted_by_shard_where_some_are_allowed(tmp_path):
    shard(tmp_path / "0.parquet", ["ann", "", "cid", "dee", ""], ["heat"] * 5)
    shard(tmp_path / "1.parquet", ["eve"])
    some = reader(tmp_path, max_broken_share=0.5)
    assert len(some.read_interactions()) == 4
    assert [str(rows) for rows in some.broken] == ["0.parquet: 2 of 5 rows left out: user_id is empty (rows 3, 6)"]
    with pytest.raises(InputError, match=r"0\.parquet: 2 of 5 rows \(40\.00%\) are broken.*row 3: .*; row 6: "):
        reader(tmp_path, max_broken_share=0.3).read_interactions()


def test_a_column_that_one_shard_lacks_is_an_error(tmp_path):
    shard(tmp_path / "0.parquet", ["ann"], timestamp=[1])
    shard(tmp_path / "1.parquet", ["bob"])
    with pytest.raises(InputError, match=r"1\.parquet: no column 'timestamp', but 0\.parquet has it"):
        users_of(tmp_path)
    shard(tmp_path / "0.parquet", ["ann"])
    shard(tmp_path / "1.parquet", ["bob"], weight=[1])
    with pytest.raises(InputError, match=r"0\.parquet: no column 'weight', but 1\.parquet has it"):
        users_of(tmp_path)


def test_a_column_that_all_lack_is_an_error(tmp_path):
    shard(tmp_path / "0.parquet", ["ann"])
    with pytest.raises(InputError, match=r"0\.parquet, row 1: no column 'when'"):
        reader(tmp_path, time_column="when").read_interactions()


def test_what_is_no_parquet_is_told_by_name(tmp_path):
    shard(tmp_path / "0.parquet", ["ann"])
    (tmp_path / "1.parquet").write_bytes(b"PAR1 or not")
    with pytest.raises(InputError, match=r"1\.parquet: no readable Parquet file"):
        users_of(tmp_path)


def test_a_page_that_is_damaged_is_told_by_name(tmp_path):
    shard(tmp_path / "0.parquet", [f"user {n}" for n in range(1000)])
    data = bytearray((tmp_path / "0.parquet").read_bytes())
    data[4:400] = b"\xff" * 396
    (tmp_path / "0.parquet").write_bytes(data)
    with pytest.raises(InputError, match=r"0\.parquet: no readable Parquet file"):
        users_of(tmp_path)


def test_memory_must_be_some():
    with pytest.raises(InputError, match=r"data\.reader\.init_args\.memory_mb is 0: give 1 or more"):
        Tabular("shards", "items.csv", memory_mb=0)
