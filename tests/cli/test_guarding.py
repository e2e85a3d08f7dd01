"""Filters and guard rails as flags: of `recommend`, and of `compare`, which tells what they cost."""

import csv
from pathlib import Path

import pytest
import yaml

from recall_lightning.cli.main import main


@pytest.fixture
def checkpoint(typed, tiny_encoder, monkeypatch):
    """A model trained on a user's own two tables, in the current folder."""
    monkeypatch.chdir(typed)
    monkeypatch.setenv("XDG_CACHE_HOME", str(typed / "cache"))
    reader = {"interactions": "interactions.csv", "items": "items.csv"}
    settings = {
        "trainer": {"logger": False, "accelerator": "cpu", "max_epochs": 1, "default_root_dir": str(typed)},
        "data": {
            "reader": {"class_path": "recall_lightning.Tabular", "init_args": reader},
            "text": "{title} ({year}). {genres}",
        },
        "model": {"encoder": {"path": str(tiny_encoder)}},
    }
    Path("config.yaml").write_text(yaml.safe_dump(settings))
    main(["fit", "--config", "config.yaml", "--checkpoint.dirpath", "kept"])
    return "kept/best.ckpt"


def recommend(checkpoint, *flags):
    main(["recommend", "--ckpt", checkpoint, "--histories", "interactions.csv", "--out", "out.csv", *flags])
    with open("out.csv", newline="") as file:
        return list(csv.DictReader(file))


def refusal(capsys, *arguments):
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_flags_of_recommend_keep_lists_within_rails(checkpoint, capsys):
    flags = ["--include-known", "--attributes", "items.csv", "--separator", ","]
    everything = recommend(checkpoint, "--include-known")
    Path("blocked.csv").write_text("item_id\nheat\nnowhere\n")
    Path("patterns.txt").write_text("Comedy\n\n")
    kept = recommend(
        checkpoint, *flags, "--block-file", "blocked.csv", "--block-text-file", "patterns.txt", "--block", "007"
    )
    assert "1 ids of the block list are in no catalogue" in capsys.readouterr().err
    left = [(r["user_id"], r["item_id"]) for r in everything if r["item_id"] in {"alien", "fargo"}]
    assert [(r["user_id"], r["item_id"]) for r in kept] == left
    crime = recommend(checkpoint, *flags, "--where", "genres=Crime", "--where", "year=1996")
    assert {row["item_id"] for row in crime} == {"fargo"}
    by_items = recommend(
        checkpoint, "--include-known", "--items", "items.csv", "--separator", ",", "--quota", "genres=1"
    )
    assert by_items == recommend(checkpoint, *flags, "--quota", "genres=1")
    assert 0 < len(by_items) < len(everything)
    assert len(recommend(checkpoint, "--include-known", "--mmr", "0.5", "--popularity-penalty", "1")) == len(everything)


def test_explain_words_come_behind_the_columns_of_every_file_and_as_a_line_with_show(checkpoint, capsys):
    plain = recommend(checkpoint)
    capsys.readouterr()
    found = recommend(checkpoint, "--explain", "words", "--show", "1")
    told = capsys.readouterr()
    assert list(found[0]) == [
        *plain[0],
        "because",
        "because_scores",
        "others_score",
        "rest_score",
        "words",
        "word_scores",
    ]
    assert [{name: row[name] for name in plain[0]} for row in found] == plain
    assert "an item's share is what the score loses without it" in told.err  # a transformer is no weighted mean
    assert [line for line in told.out.splitlines() if line.startswith("1: ") and "; words: " in line]


def test_compare_shows_each_rail_and_all_together_beside_the_model_without(checkpoint, capsys):
    given = ["compare", "--config", "config.yaml", "--models", "popularity"]
    rails = ["--block", "alien", "--quota", "genres=1", "--attributes", "items.csv", "--separator", ",", "--k", "2"]
    main([*given, "--ckpt", checkpoint, *rails, "--out", "out"])
    told = capsys.readouterr().out
    table = told.partition("what guard rails cost and gain")[2].partition("what it took")[0]
    lines = [line for line in table.splitlines() if "trained (" in line]
    assert [line.split(", trained")[0] for line in lines] == [
        "block list of 1", "quota genres=1", "block list of 1 and quota genres=1"
    ]  # fmt: skip
    with open("out/comparison.csv", newline="") as file:
        rows = {
            (r["model"].split(", trained")[0].split(" (")[0], r["metric"]): r
            for r in csv.DictReader(file)
            if r["group"] == "all"
        }
    gained = float(rows["block list of 1", "coverage@2"]["value"]) - float(rows["trained", "coverage@2"]["value"])
    assert f"{gained:+.4f}" in lines[0]
    cost = float(rows["block list of 1", "recall@2"]["value"]) - float(rows["trained", "recall@2"]["value"])
    assert f"{cost:+.4f} (" in lines[0]
    assert "guard rails" in Path("out/comparison.md").read_text()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--where", "genres"], "--where genres: it has no = between a column and a value"),
        (["--quota", "genres=few", "--attributes", "items.csv"], "--quota genres=few: 'few' is no number of items"),
        (["--quota", "genres=2"], "--quota genres: there is no table to look it up in"),
        (["--block-text-file", "gone.txt"], "--block-text-file gone.txt: No such file"),
        (
            ["--popularity-penalty", "1", "--threshold", "0.1"],
            "--popularity-penalty with --threshold: the penalty is on",
        ),
    ],
)
def test_wrong_flags_are_told_before_the_checkpoint_is_read(typed, capsys, monkeypatch, flags, told):
    monkeypatch.chdir(typed)
    assert told in refusal(capsys, "recommend", "--ckpt", "gone", "--histories", "h.csv", "--out", "o.csv", *flags)


def test_rails_without_a_model_are_told_by_compare(typed, tiny_encoder, capsys, monkeypatch):
    monkeypatch.chdir(typed)
    (typed / "config.yaml").write_text(
        "data:\n  reader: {class_path: recall_lightning.Tabular, init_args: {interactions: no.csv, items: no.csv}}\n"
        f"  text: '{{title}}'\nmodel:\n  encoder:\n    path: {tiny_encoder}\n"
    )
    told = refusal(capsys, "compare", "--config", "config.yaml", "--mmr", "0.5")
    assert "mmr 0.5: there is no model to keep within it. Give it by --ckpt" in told
