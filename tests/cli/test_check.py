"""`check`: what a user is told of their data before training."""

import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml

from recall_lightning.cli.histogram import print_histogram
from recall_lightning.cli.main import main


@pytest.fixture
def check(typed, tiny_encoder, tmp_path, capsys, monkeypatch):
    """Runs `check` on the typed tables and gives what it prints."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(*flags, **data):
        files = {"interactions": str(typed / "interactions.csv"), "items": str(typed / "items.csv")}
        settings = {
            "trainer": {"logger": False, "accelerator": "cpu"},
            "data": {"reader": {"class_path": "recall_lightning.Tabular", "init_args": files}, "text": "{title}"}
            | data,
            "model": {"encoder": {"path": str(tiny_encoder)}},
        }
        (typed / "config.yaml").write_text(yaml.safe_dump(settings))
        main(["check", "--config", str(typed / "config.yaml"), *flags])
        return capsys.readouterr().out

    return run


def test_sizes_texts_and_split_are_told(check):
    told = check()
    assert "3 users, 5 items, 11 interactions" in told
    assert "11 rows read, 0 (0.0%) not used" in told
    assert "3-4 items" in told
    assert "split leave_last_out" in told
    assert "test        3 users to ask, 3 items to recall" in told


def test_text_coverage_is_told_by_items_and_by_interactions(check, typed):
    assert "5 of the 5 items that were met have a text (100.0%), and 100.0% of the interactions" in check()
    with (typed / "interactions.csv").open("a") as file:
        file.write("ann,ghost,9\nbob,ghost,9\n")
    told = check(missing_text="drop")
    assert "5 of the 6 items that were met have a text (83.3%), and 84.6% of the interactions" in told
    assert "2 (15.4%): without text for their item (1 items)" in told


def test_what_filters_leave_out_is_told_with_its_share(check):
    assert "3 (27.3%): outside the core of 4 items a user" in check(min_interactions=4)


def test_repeated_interactions_are_told(check, typed):
    with (typed / "interactions.csv").open("a") as file:
        file.write("ann,heat,9\n")
    assert "1 (8.3%): the user's other interactions with the same item" in check()


def test_broken_rows_that_may_be_left_out_are_told_with_file_and_line(check, typed):
    with (typed / "interactions.csv").open("a") as file:
        file.write("ann\n")
    told = check("--data.reader.init_args.max_broken_share", "0.5")
    assert "interactions.csv: 1 of 12 rows left out" in told
    assert "(row 13)" in told


def test_many_ties_are_warned_of(check, typed):
    assert "share their time" not in check()
    (typed / "interactions.csv").write_text("user_id,item_id,timestamp\nann,heat,1\nann,alien,1\nann,fargo,1\n")
    assert (
        "100% of the interactions share their time with another of the same user: their order is the file's" in check()
    )
    assert "drawn by a seeded hash" in check(ties="shuffle")


def test_items_that_text_cannot_tell_apart_are_told(check, typed):
    with (typed / "items.csv").open("a") as file:
        file.write("heat2,Heat,1995,\n")
    assert "2 items share their text with another, such as 'Heat' (2 times)" in check()


def test_texts_that_are_cut_are_told(check):
    assert "100% of the texts are cut at data.max_text_tokens: 4" in check(max_text_tokens=4)


def test_histories_too_short_to_train_on_or_to_choose_by_are_told(check, typed):
    assert "no validation case" not in check()
    (typed / "interactions.csv").write_text("user_id,item_id\nann,heat\nann,alien\nbob,heat\nbob,fargo\n")
    told = check()
    assert "no user has two interactions to train on: `fit` would stop" in told
    assert "no validation case" in told


def test_any_key_can_be_a_flag_and_a_later_config_wins(check, typed):
    (typed / "more.yaml").write_text("data: {splits: {name: cold_users, share: 0.3, k: 1}, seed: 2}")
    assert "split cold_users" in check("--config", str(typed / "more.yaml"))
    assert "outside the core of 4" in check("--data.min_interactions", "4")


def test_a_reader_can_be_named_by_its_class_alone(check, typed):
    flags = ["--data.reader", "Tabular", "--data.reader.interactions", str(typed / "interactions.csv")]
    assert "3 users" in check(*flags, "--data.reader.items", str(typed / "items.csv"))


def test_a_single_problem_ends_with_status_2_and_says_it(check, typed, capsys):
    (typed / "interactions.csv").write_text("user_id,item_id\nann,ghost\n")
    with pytest.raises(SystemExit) as ended:
        check()
    assert ended.value.code == 2
    assert "no text for 1 item(s): 'ghost'" in capsys.readouterr().err


def test_problems_of_several_files_are_all_told(check, typed, capsys):
    (typed / "interactions.csv").write_text("user,item_id\nann,heat\n")
    (typed / "items.csv").unlink()
    with pytest.raises(SystemExit) as ended:
        check()
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert "no column 'user_id'" in told.out
    assert "items.csv: no such file" in told.out
    assert told.err.startswith("recall-lightning: 2 problems")


def test_a_flag_that_is_no_key_of_the_config_is_refused(check, capsys):
    for wrong in (["--bogus"], ["--bogus", "1"], ["stray"]):
        with pytest.raises(SystemExit) as ended:
            check(*wrong)
        assert ended.value.code == 2
        assert "unrecognized arguments" in capsys.readouterr().err


def test_a_histogram_counts_each_range_and_ends_with_the_last_that_has_any(capsys):
    import numpy as np

    print_histogram(np.array([1, 1, 3, 4, 9]), (1, 2, 3, 5, 10, 20), "items")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3-4", "5-9"]
    assert [line.split()[-1] for line in lines] == ["2", "0", "2", "1"]
    assert lines[0].count("█") == 40
    assert lines[3].count("█") == 20


def test_shards_are_told_of_as_one_table_is_and_each_broken_source_by_itself(check, typed, capsys):
    table = pyarrow.csv.read_csv(typed / "interactions.csv")
    (typed / "shards").mkdir()
    pq.write_table(table.slice(0, 4), typed / "shards" / "0.parquet")
    pq.write_table(table.slice(4), typed / "shards" / "1.parquet")
    shards = ["--data.reader.init_args.interactions", str(typed / "shards")]
    assert check(*shards) == check()
    (typed / "items.csv").write_text("item_id,title\n,Heat\n")
    (typed / "shards" / "1.parquet").write_bytes(b"not Parquet")
    with pytest.raises(SystemExit):
        check(*shards)
    told = capsys.readouterr()
    assert "1.parquet: no readable Parquet file" in told.out
    assert "items.csv, row 2: item_id is empty" in told.out
    assert "2 problems" in told.err
