"""fit --auto.minutes: what it says, trains and leaves."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

import recall_lightning.cli.auto as auto
from recall_lightning.auto import CHANGES, MOST_CANDIDATES, Change, by_size
from recall_lightning.callbacks.heap import HeapTrim
from recall_lightning.cli.flags import as_flags
from recall_lightning.cli.main import main
from recall_lightning.modules.checkpoint import read_checkpoint


@pytest.fixture
def config(typed, tiny_encoder, tmp_path, monkeypatch):
    settings = {
        "auto": {"minutes": 2},
        "trainer": {
            "logger": False, "accelerator": "cpu", "max_epochs": 2, "default_root_dir": str(tmp_path),
            "enable_progress_bar": False,
        },
        "data": {
            "reader": {
                "class_path": "recall_lightning.Tabular",
                "init_args": {"interactions": str(typed / "interactions.csv"), "items": str(typed / "items.csv")},
            },
            "text": "{title}", "cache_dir": str(tmp_path / "cache"),
        },
        "model": {
            "encoder": {"path": str(tiny_encoder), "frozen_layers": -1}, "candidates": "catalogue", "ks": [2],
            "item_tower": {"class_path": "recall_lightning.ItemTower"},
        },
        "checkpoint": {"dirpath": str(tmp_path / "kept"), "monitor": "val/recall@2"},
        "early_stopping": {"monitor": "val/recall@2"},
    }  # fmt: skip
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    monkeypatch.setattr(
        auto, "CHANGES", (Change("shares of it", {"model.prior": True}), Change("why not", {"data.batch_size": 2}))
    )
    monkeypatch.setattr(auto, "length_of_a_trial", lambda *_: (1, 1.0))
    return path


def test_it_says_what_it_tried_trains_with_the_best_and_leaves_a_config_that_does_so_again(config, capsys):
    main(["fit", "--config", str(config)])
    told = capsys.readouterr().err
    for expected in [
        r"auto: max_history 20: nine in ten histories", r"auto: before any: [01]\.\d{4}, in 1 epochs",
        r"auto: prior True \(shares of it\): [01]\.\d{4}", r"auto: batch_size 2 \(why not\): [01]\.\d{4}",
        r"auto: chosen, at [01]\.\d{4}",
        r"auto: fused with markov: [01]\.\d{4}, (no gain|by (score|rank)s, weight 0\.\d)",
    ]:  # fmt: skip
        assert re.search(expected, told), expected
    kept = config.parent / "kept"
    assert sorted(path.name for path in kept.iterdir()) == ["auto.yaml", "best.ckpt", "last.ckpt"]
    chosen = yaml.safe_load((kept / "auto.yaml").read_text())
    assert chosen["auto"].keys() == {"minutes", "fuse"}
    trained = read_checkpoint(kept / "best.ckpt")
    assert trained["datamodule_hyper_parameters"]["max_history"] == chosen["data"]["max_history"] == 20
    assert trained["hyper_parameters"]["prior"] == chosen.get("model", {}).get("prior", False)
    assert ("prior True" in re.search(r"chosen.*", told)[0]) == trained["hyper_parameters"]["prior"]
    main(["fit", "--config", str(config), "--config", str(kept / "auto.yaml"), "--trainer.max_epochs", "1"])
    assert "auto" not in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(config), "--ckpt_path", str(kept / "best.ckpt")])
    assert "auto.minutes: a run goes on with the settings it began with" in capsys.readouterr().err


def test_compare_fuses_a_checkpoint_with_what_the_search_advised(config, capsys, monkeypatch):
    monkeypatch.setattr(auto, "CHANGES", ())
    monkeypatch.setattr(auto.Automatic, "_fusion", lambda *_: "first")
    main(["fit", "--config", str(config)])
    compare = [
        "compare",
        "--config",
        str(config),
        "--ckpt",
        str(config.parent / "kept" / "best.ckpt"),
        "--models",
        "first",
    ]
    capsys.readouterr()
    main(compare)
    assert "popularity among first + trained (" in capsys.readouterr().out
    main([*compare, "--fuse", "markov"])
    told = capsys.readouterr().out
    assert "popularity among first + " not in told
    assert "Markov chain + trained (" in told
    (config.parent / "kept" / "auto.yaml").write_text("auto: 3\n")
    with pytest.raises(SystemExit):
        main(compare)
    assert "auto.yaml: not as `fit --auto.minutes` left it" in capsys.readouterr().err


def test_when_time_is_up_it_trains_for_an_epoch_and_says_what_it_left_out(config, capsys):
    main(["fit", "--config", str(config), "--auto.minutes", "0.0001"])
    told = capsys.readouterr().err
    assert "auto: prior True" not in told
    assert "auto: trainer.max_epochs 1: 2 would take too long" in told
    for channel in auto.CHANNELS:
        assert f"auto: no time left to fuse with {channel}" in told
    assert yaml.safe_load((config.parent / "kept" / "auto.yaml").read_text())["trainer"]["max_epochs"] == 1
    assert read_checkpoint(config.parent / "kept" / "best.ckpt")["epoch"] == 0


@pytest.mark.parametrize(("sampled", "expected"), [(20.0, "batch"), (80.0, "catalogue")])
def test_where_an_epoch_over_the_whole_catalogue_takes_too_long_a_sample_of_it_does_if_it_is_faster(
    config, capsys, monkeypatch, sampled, expected
):
    judged = auto.ShortRuns.judged

    def slow(self, settings):
        judged(self, settings)
        return sampled if settings.get("model.candidates") == "batch" else 60.0

    monkeypatch.setattr(auto.ShortRuns, "judged", slow)
    main(["fit", "--config", str(config), "--data.batch_size", "1"])
    told = (
        "auto: candidates batch, n_negatives 2048, sort_by_length False: an epoch takes 20 s, over the whole catalogue"
    )
    assert (told in capsys.readouterr().err) == (expected == "batch")
    trained = read_checkpoint(config.parent / "kept" / "best.ckpt")
    assert trained["hyper_parameters"]["candidates"] == expected
    assert trained["datamodule_hyper_parameters"]["n_negatives"] == (2048 if expected == "batch" else 0)
    main(["fit", "--config", str(config), "--data.batch_size", "1", "--model.candidates", "catalogue"])
    assert "candidates batch" not in capsys.readouterr().err


def test_where_there_is_no_time_for_an_epoch_trials_and_training_have_a_part_of_one(config, capsys, monkeypatch):
    monkeypatch.setattr(auto, "length_of_a_trial", lambda *_: (1, 0.5))
    monkeypatch.setattr(auto, "TRAINING", 1e-9)
    main(["fit", "--config", str(config), "--data.batch_size", "1"])
    told = capsys.readouterr().err
    assert re.search(r"before any: .*, in 1 epochs of \d+ s, 50% of each", told)
    assert "trainer.limit_train_batches 0.505: there isn't time for a whole epoch" in told  # one batch of two
    chosen = yaml.safe_load((config.parent / "kept" / "auto.yaml").read_text())
    assert chosen["trainer"] == {"limit_train_batches": 0.505, "max_epochs": 1}
    assert read_checkpoint(config.parent / "kept" / "best.ckpt")["global_step"] == 1


def test_short_runs_give_their_memory_back_too(config, monkeypatch):
    folders = set()
    after_a_step = HeapTrim.on_train_batch_end

    def noted(self, trainer, *rest):
        folders.add(trainer.checkpoint_callback.dirpath)
        after_a_step(self, trainer, *rest)

    monkeypatch.setattr(HeapTrim, "on_train_batch_end", noted)
    main(["fit", "--config", str(config)])
    assert str(config.parent / "kept") in folders  # the training's
    assert len(folders) > 1


def test_what_a_flag_says_is_not_searched(config, capsys):
    main(["fit", "--config", str(config), "--data.max_history", "3", "--model.prior", "true", "--data.batch_size=4"])
    told = capsys.readouterr().err
    assert "auto: 0 changes to try" in told
    assert "nine in ten" not in told
    trained = read_checkpoint(config.parent / "kept" / "best.ckpt")
    assert trained["datamodule_hyper_parameters"]["max_history"] == 3


@pytest.mark.parametrize(
    "flag", ["--model.item_tower.residual_dropout=0.2", "--model.item_tower=recall_lightning.ItemTower"]
)
def test_a_key_is_the_same_however_it_is_written(config, capsys, monkeypatch, flag):
    monkeypatch.setattr(auto, "CHANGES", (Change("", {"model.item_tower.init_args.residual_dropout": 0.1}),))
    main(["fit", "--config", str(config), flag])
    assert "auto: 0 changes to try" in capsys.readouterr().err


@pytest.mark.parametrize("change", [*CHANGES, *by_size(np.array([30]), MOST_CANDIDATES + 1)], ids=lambda c: c.why)
def test_each_change_is_one_of_keys_that_the_config_of_own_data_has(change, capsys):
    own = Path(__file__).parents[2] / "configs" / "own-data.yaml"
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", str(own), *as_flags(change.settings), "--print_config"])
    assert ended.value.code in {0, None}
    told = yaml.safe_load(capsys.readouterr().out)
    for key, value in change.settings.items():
        found = told
        for part in key.split("."):
            found = found[part]
        assert (found["class_path"].rpartition(".")[2] if isinstance(found, dict) else found) == (
            value.rpartition(".")[2] if isinstance(value, str) else value
        )


def test_what_the_config_says_already_is_not_tried(config, capsys, monkeypatch):
    monkeypatch.setattr(auto, "CHANGES", (Change("", {"model.prior": False}), Change("", {"data.batch_size": 2})))
    main(["fit", "--config", str(config)])
    assert "auto: 1 changes to try" in capsys.readouterr().err


def test_a_change_that_diverges_is_told_and_not_kept(config, capsys, monkeypatch):
    monkeypatch.setattr(auto, "CHANGES", (Change("too fast", {"model.optimizer.tower_lr": 1e30}),))
    main(["fit", "--config", str(config)])
    assert "(too fast): -inf\n" in capsys.readouterr().err
    trained = read_checkpoint(config.parent / "kept" / "best.ckpt")
    assert trained["hyper_parameters"]["optimizer"]["tower_lr"] == 1e-3


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--auto.minutes", "0"], "auto.minutes is 0.0: give a number above 0"),
        (["--auto.minutes", "-3"], "auto.minutes is -3.0"),
        (["--auto.minutes", ".inf"], "auto.minutes is inf"),
        (["--trainer.fast_dev_run", "true"], "auto.minutes: a short run came to no validation"),
        (["--checkpoint.mode", "min"], "auto.minutes: looks for the highest metric, but checkpoint.mode is min"),
        (["--trainer.devices", "2", "--trainer.strategy", "ddp"], "auto.minutes: a search runs in one process"),
        (["--data.text", "{colour}"], "colour"),
    ],
)
def test_what_can_not_be_searched_is_refused_in_one_line(config, capsys, flags, told):
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", str(config), *flags])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err.splitlines()[-1]


def test_a_change_that_does_not_fit_the_config_is_told_and_not_kept(config, capsys, monkeypatch):
    monkeypatch.setattr(auto, "CHANGES", (Change("no", {"model.item_tower": "recall_lightning.Nothing"}),))
    main(["fit", "--config", str(config)])
    told = capsys.readouterr().err
    assert "recall_lightning.Nothing" in told
    assert "item_tower Nothing (no): -inf" in told
    assert (config.parent / "kept" / "best.ckpt").exists()
