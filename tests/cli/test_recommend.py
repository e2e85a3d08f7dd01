"""`recommend --threshold`: only what scores enough. `--adapt`: to new users first. `--fuse`: with a baseline."""

import csv
import sys
from pathlib import Path

import pytest
import torch
import yaml

from recall_lightning.cli.main import main


@pytest.fixture
def checkpoint(typed, tiny_encoder, monkeypatch):
    """A model trained on a user's own two tables, in the current folder."""
    monkeypatch.chdir(typed)
    settings = {
        "trainer": {"logger": False, "accelerator": "cpu", "max_epochs": 1, "default_root_dir": str(typed)},
        "data": {
            "reader": {
                "class_path": "recall_lightning.Tabular",
                "init_args": {"interactions": "interactions.csv", "items": "items.csv"},
            },
            "text": "{title} ({year}). {genres}",
        },
        "model": {"encoder": {"path": str(tiny_encoder)}},
    }
    (typed / "config.yaml").write_text(yaml.safe_dump(settings))
    main(
        ["fit", "--config", "config.yaml", "--checkpoint.dirpath", "kept", "--model.threshold.max_items_per_user", "1"]
    )
    return typed / "kept" / "best.ckpt"


def recommend(checkpoint, *flags, histories="interactions.csv"):
    """The rows of the file that is written."""
    given = ["--ckpt", str(checkpoint), "--histories", histories, "--out", "out.csv"]
    main(["recommend", *given, *flags])
    with open("out.csv", newline="") as file:
        return list(csv.DictReader(file))


def refusal(capsys, run, *arguments):
    """The one line on stderr of a command that ends with status 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_auto_takes_the_alpha_of_the_checkpoint_and_a_number_itself(checkpoint, capsys):
    stored = torch.load(checkpoint, weights_only=True)["recall_lightning"]["threshold"]
    assert stored["constraint"] == {"max_items_per_user": 1}
    every = recommend(checkpoint, "--include-known")
    assert len(every) == 3 * 5
    for flag, alpha in [("auto", stored["alpha"]), (str(float(every[1]["score"])), float(every[1]["score"]))]:
        rows = recommend(checkpoint, "--include-known", "--threshold", flag)
        assert rows == [row for row in every if float(row["score"]) >= alpha]
        assert 0 < len(rows) < len(every)
    assert len(recommend(checkpoint, "--include-known", "--threshold", "-2", "--k", "2")) == 3 * 2


def test_users_whose_items_all_score_less_are_counted_and_get_no_row(checkpoint, capsys):
    checkpoint.with_name("h.csv").write_text("user_id,item_id\nann,heat\nbob,alien\nzoe,ghost\n")
    assert recommend(checkpoint, "--threshold", "1.5", histories="kept/h.csv") == []
    told = capsys.readouterr().err
    assert "2 users with a history got no item that scores 1.5 or more" in told
    assert "1 users without a usable history: they got nothing" in told


def test_a_terminal_is_shown_how_far_it_is_and_a_file_is_not(checkpoint, capsys, monkeypatch):
    recommend(checkpoint)
    told = capsys.readouterr().err
    assert "3 users in" in told
    assert "a second, written to out.csv" in told
    assert "users/s" not in told
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    recommend(checkpoint)
    told = capsys.readouterr().err
    assert "3/3" in told
    assert "users/s" in told


def test_auto_without_an_alpha_in_the_checkpoint_is_told(checkpoint, capsys):
    changed = torch.load(checkpoint, weights_only=True)
    changed["recall_lightning"]["threshold"] = None
    torch.save(changed, checkpoint)
    told = refusal(capsys, recommend, checkpoint, "--threshold", "auto")
    assert "holds no alpha" in told
    assert "max_items_per_user 1. Give a number" in told


@pytest.mark.parametrize("value", ["high", "nan", "inf", "", "AUTO"])
def test_a_threshold_that_is_no_number_is_told(capsys, value):
    told = refusal(capsys, recommend, "a.ckpt", f"--threshold={value}")
    assert f"--threshold: '{value}' is neither a number nor auto: give one such as 0.4" in told


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (
            ["--model.threshold.min_precision", "2"],
            "model.threshold.min_precision is 2.0: give a share above 0, up to 1",
        ),
        (["--model.threshold.beta", "1", "--model.threshold.min_precision", "0.5"], "min_precision and beta are given"),
    ],
)
def test_a_wrong_constraint_is_told_by_fit_with_its_key(typed, tiny_encoder, capsys, flags, told):
    (typed / "config.yaml").write_text(
        f"data:\n  reader: {{class_path: recall_lightning.Tabular, init_args: {{interactions: a.csv, items: b.csv}}}}\n"
        f"  text: '{{title}}'\nmodel:\n  encoder:\n    path: {tiny_encoder}\n"
    )
    assert told in refusal(capsys, main, ["fit", "--config", str(typed / "config.yaml"), *flags])


@pytest.fixture
def meta_trained(checkpoint):
    """The model, meta-trained on users of the same items; its threshold is of no matter here."""
    items = ["heat", "alien", "brazil", "fargo", "007"]
    rows = [f"u{user},{items[(user * 3 + step) % 5]},{step}" for user in range(40) for step in range(4)]
    checkpoint.with_name("interactions.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]))
    main(
        [
            "fit", "--method", "maml", "--config", "config.yaml", "--checkpoint.dirpath", "meta",
            "--data.reader.init_args.interactions", "kept/interactions.csv", "--data.splits.share", "0.2",
            "--data.splits.k", "1", "--data.episodes.max_support", "3", "--data.eval_support", "[1,2]",
        ]
    )  # fmt: skip
    return checkpoint.parent.parent / "meta" / "best.ckpt"


def test_adapt_changes_scores_and_tells_who_had_nothing_to_adapt_to(meta_trained, capsys):
    meta_trained.with_name("h.csv").write_text("user_id,item_id\nann,heat\nann,ghost\nzoe,ghost\n")
    plain = recommend(meta_trained, histories="meta/h.csv")
    capsys.readouterr()
    adapted = recommend(meta_trained, "--adapt", histories="meta/h.csv")
    told = capsys.readouterr().err
    assert "2 interactions skipped" in told
    assert (
        "1 users without a usable history: they got the most popular items, there being nothing to adapt to\n" in told
    )
    assert "diverged" not in told
    assert [row["user_id"] for row in adapted] == [row["user_id"] for row in plain] == ["ann"] * 4 + ["zoe"] * 5
    assert adapted[:4] != plain[:4]
    assert adapted[4:] == plain[4:]
    assert recommend(meta_trained, "--adapt", "--adapt-candidates", "2", histories="meta/h.csv")[:4] != adapted[:4]
    assert recommend(meta_trained, histories="meta/h.csv") == plain


def test_adapt_tells_how_many_inner_loops_diverged(meta_trained, capsys):
    plain = recommend(meta_trained)
    changed = torch.load(meta_trained, weights_only=True)
    changed["state_dict"]["rates.values.0"].fill_(1e30)
    torch.save(changed, meta_trained)
    capsys.readouterr()
    adapted = recommend(meta_trained, "--adapt")
    assert "3 users got the unadapted answer: their inner loop diverged\n" in capsys.readouterr().err
    assert [(row["user_id"], row["item_id"]) for row in adapted] == [(row["user_id"], row["item_id"]) for row in plain]


def test_adapt_by_a_checkpoint_that_was_not_meta_trained_is_told(checkpoint, capsys):
    told = refusal(capsys, recommend, checkpoint, "--adapt")
    assert f"{checkpoint}: the checkpoint was not meta-trained, so it can't adapt to users" in told
    assert "`method: maml`" in told


def test_fuse_ranks_by_the_model_and_a_baseline_whose_weight_it_tells(checkpoint, capsys):
    checkpoint.with_name("h.csv").write_text("user_id,item_id\nzoe,heat\nzoe,ghost\nnew,ghost\nann,alien\nann,007\n")
    plain = recommend(checkpoint, histories="kept/h.csv")
    capsys.readouterr()
    flags = ["--fuse", "markov", "--config", "config.yaml"]
    fused = recommend(checkpoint, *flags, histories="kept/h.csv")
    told = capsys.readouterr().err
    assert told.count("fused with Markov chain by ") == told.count("validation recall@10 ") == 1
    assert "2 interactions skipped" in told
    assert "1 users without a usable history: they got the most popular items\n" in told
    assert [(r["user_id"], r["rank"]) for r in fused] == [(r["user_id"], r["rank"]) for r in plain]
    assert list(dict.fromkeys(row["user_id"] for row in fused)) == ["zoe", "new", "ann"]
    assert [row for row in fused if row["user_id"] == "new"] == [row for row in plain if row["user_id"] == "new"]
    assert {row["item_id"] for row in fused if row["user_id"] == "ann"} == {"heat", "brazil", "fargo"}
    scores = [float(row["score"]) for row in fused if row["user_id"] == "zoe"]
    assert scores == sorted(scores, reverse=True)
    once = Path("out.csv").read_bytes()
    recommend(checkpoint, *flags, histories="kept/h.csv")
    assert Path("out.csv").read_bytes() == once


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--fuse", "markov"], "--fuse: the baseline learns from data. Name it by --config"),
        (["--config", "config.yaml"], "--config: only --fuse reads one"),
        (["--data.seed", "1"], "unrecognized arguments: --data.seed 1"),
        (["--fuse", "magic", "--config", "config.yaml"], "no contender is called 'magic'. Choose among popularity, "),
        (["--fuse", "markov,ease", "--config", "c.yaml"], "--fuse markov,ease: a ranking is fused with one baseline"),
        (
            ["--fuse", "markov", "--fuse", "ease", "--config", "c.yaml"],
            "--fuse markov,ease: a ranking is fused with one",
        ),
        (["--fuse", "ease", "--config", "c.yaml", "--items", "items.csv"], "--fuse with --items: the baseline knows"),
        (["--fuse", "ease", "--config", "c.yaml", "--adapt"], "--fuse with --adapt: "),
        (["--fuse", "ease", "--config", "c.yaml", "--threshold", "0.4"], "--fuse with --threshold: alpha is on the"),
    ],
)
def test_flags_that_do_not_go_together_are_told_before_anything_is_read(
    typed, tiny_encoder, capsys, monkeypatch, flags, told
):
    monkeypatch.chdir(typed)
    (typed / "config.yaml").write_text(
        "data:\n  reader: {class_path: recall_lightning.Tabular, init_args: {interactions: no.csv, items: no.csv}}\n"
        f"  text: '{{title}}'\nmodel:\n  encoder:\n    path: {tiny_encoder}\n"
    )
    assert told in refusal(capsys, recommend, "gone.ckpt", *flags)


def test_fuse_by_data_that_the_checkpoint_was_not_trained_on_is_told(checkpoint, capsys):
    flags = ["--fuse", "markov", "--config", "config.yaml"]
    cold = ["--data.splits.name", "cold_users", "--data.splits.share", "0.3", "--data.splits.k", "1"]
    told = _last_line(capsys, checkpoint, *flags, *cold, "--data.seed", "2")
    assert "trained on another training part than the config's" in told
    with open("items.csv", "a") as file:
        file.write("new,New,2000,Drama\n")
    assert "trained on another catalogue (5 items) than the config's (6)" in _last_line(capsys, checkpoint, *flags)


def test_fuse_of_a_meta_trained_checkpoint_is_told(meta_trained, capsys):
    told = _last_line(capsys, meta_trained, "--fuse", "markov", "--config", "config.yaml")
    assert f"{meta_trained} was meta-trained, and the weight would be chosen for users that it is adapted to" in told


def _last_line(capsys, checkpoint, *flags):
    """What a command says at last that ends with status 2 after it has told of the data."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        recommend(checkpoint, *flags)
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_with_a_cache_the_items_are_encoded_once_and_a_wrong_back_end_is_told(checkpoint, capsys):
    first = recommend(checkpoint, "--encode-with", "bf16", "--cache", "vectors")
    shards = [(path, path.stat().st_mtime_ns) for path in Path("vectors").rglob("*.npz")]
    assert len(shards) == 1
    assert recommend(checkpoint, "--encode-with", "bf16", "--cache", "vectors") == first
    assert [(path, path.stat().st_mtime_ns) for path in Path("vectors").rglob("*.npz")] == shards
    assert "invalid choice: 'tpu'" in refusal(capsys, recommend, checkpoint, "--encode-with", "tpu")
