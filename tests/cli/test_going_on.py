"""`fit` after a break: what a run that was killed leaves, and that it ends as one never killed."""

from functools import cache
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch.callbacks import Callback
from test_main import refusal

import recall_lightning.callbacks.last as last
from recall_lightning.cli import trainer as command
from recall_lightning.cli.checkpoint_io import WholeCheckpoints
from recall_lightning.cli.main import main

ITEMS = ["heat", "alien", "brazil", "fargo", "007", "solaris", "stalker", "ran"]


class Gone(Callback):
    """Ends a run as SIGKILL would: nothing more is written."""

    def __init__(self, hook, at):
        self.at, self.count = at, 0
        setattr(self, hook, self.end)

    def end(self, *_):
        self.count += 1
        if self.count == self.at:
            raise RuntimeError("gone")


@pytest.fixture(autouse=True)
def folder(tmp_path, tiny_encoder, monkeypatch):
    """Where the commands run: sixteen users, eight items, a config for each method."""
    rows = [f"user{u},{ITEMS[(u * 3 + n) % 8]},{n}\n" for u in range(16) for n in range(6)]
    (tmp_path / "ratings.csv").write_text("user_id,item_id,timestamp\n" + "".join(rows))
    (tmp_path / "items.csv").write_text("item_id,title\n" + "".join(f"{item},{item}\n" for item in ITEMS))
    reader = {"class_path": "Tabular", "init_args": {"interactions": "ratings.csv", "items": "items.csv"}}
    data = {"reader": reader, "text": "{title}", "batch_size": 4}
    model = {"encoder": {"path": str(tiny_encoder)}}
    cold = {"splits": {"name": "cold_users", "share": 0.2, "k": 1}}
    settings = {
        "recall": {"data": data | cold, "model": model},
        "maml": {"data": data | cold | {"eval_support": [1, 3]}, "model": model},
        "pretrain": {"data": data | {"validation_share": 0.3}, "model": model},
    }
    trainer = {"accelerator": "cpu", "max_epochs": 3}
    for method, parts in settings.items():
        (tmp_path / f"{method}.yaml").write_text(yaml.safe_dump({"method": method, "trainer": trainer, **parts}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(last, "MOST_OF_TIME", float("inf"))  # epochs this short would leave out most of `last.ckpt`
    return tmp_path


def fit(method, *flags, save_dir="runs"):
    main(["fit", "--config", f"{method}.yaml", "--trainer.logger.init_args.save_dir", save_dir, *flags])


def checkpoints(version, save_dir="runs"):
    return Path(save_dir) / "recall" / f"version_{version}" / "checkpoints"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Trains without a break, once for each method and flags; gives where the checkpoints are."""

    @cache
    def of(method, *flags):
        folder = tmp_path_factory.mktemp("whole")
        fit(method, *flags, save_dir=str(folder))
        return checkpoints(0, folder)

    return of


# the best one is the first epoch's, whose folder is no longer that of a run that goes on
BEST_IS_FIRST = ["--checkpoint.monitor", "train/loss", "--checkpoint.mode", "max"]
STOP = ["--early_stopping.monitor", "train/loss", "--early_stopping.mode", "max"]
SOON = [*STOP, "--early_stopping.patience", "1"]


def read(path):
    return torch.load(path, weights_only=True)


def assert_equal_runs(path, other):
    one, two = read(path), read(other)
    assert (one["epoch"], one["global_step"]) == (two["epoch"], two["global_step"])
    assert one["state_dict"].keys() == two["state_dict"].keys()
    assert all(value.equal(two["state_dict"][name]) for name, value in one["state_dict"].items())


@pytest.mark.parametrize("method", ["recall", "maml", "pretrain"])
@pytest.mark.parametrize(
    ("hook", "at"), [("on_train_batch_end", 5), ("on_validation_start", 3)], ids=["in an epoch", "in validation"]
)
def test_a_run_that_was_killed_goes_on_from_its_last_checkpoint_to_the_weights_of_one_never_killed(
    method, hook, at, monkeypatch, whole
):
    unbroken = whole(method, *BEST_IS_FIRST)
    with monkeypatch.context() as patch:
        usual = command.default_callbacks
        patch.setattr(command, "default_callbacks", lambda given: [*usual(given), Gone(hook, at)])
        with pytest.raises(RuntimeError, match="gone"):
            fit(method, *BEST_IS_FIRST)
    fit(method, *BEST_IS_FIRST, "--ckpt_path", str(checkpoints(0) / "last.ckpt"))
    for name in ("best.ckpt", "last.ckpt"):
        assert_equal_runs(checkpoints(1) / name, unbroken / name)
    assert (checkpoints(1) / "encoder").is_dir() == (method == "pretrain")


def test_a_run_that_had_stopped_early_trains_no_more(capsys, whole):
    stopped = whole("recall", *SOON)
    assert read(stopped / "last.ckpt")["epoch"] == 1
    fit("recall", *SOON, "--ckpt_path", str(stopped / "last.ckpt"))
    assert [path.name for path in checkpoints(0).iterdir()] == ["best.ckpt"]
    assert_equal_runs(checkpoints(0) / "best.ckpt", stopped / "best.ckpt")
    told = capsys.readouterr().out.splitlines()
    assert f"kept in {checkpoints(0) / 'best.ckpt'}" in told[-1]


def test_a_run_that_had_stopped_early_trains_on_with_more_patience(whole):
    more = ["--early_stopping.patience", "5", "--ckpt_path", str(whole("recall", *SOON) / "last.ckpt")]
    fit("recall", *STOP, *more)
    assert read(checkpoints(0) / "last.ckpt")["epoch"] == 2


def test_a_run_that_reached_its_threshold_trains_no_more():
    stop = ["--early_stopping.stopping_threshold", "0", "--early_stopping.monitor", "train/loss"]
    fit("recall", *stop, "--early_stopping.mode", "max")
    assert read(checkpoints(0) / "last.ckpt")["epoch"] == 0
    fit("recall", *stop, "--early_stopping.mode", "max", "--ckpt_path", str(checkpoints(0) / "last.ckpt"))
    assert [path.name for path in checkpoints(1).iterdir()] == ["best.ckpt"]


def test_without_patience_a_run_ends_after_its_first_epoch_without_a_gain():
    fit("recall", "--early_stopping.patience", "0", "--early_stopping.monitor", "train/loss", "--early_stopping.mode",
        "max")  # fmt: skip
    assert read(checkpoints(0) / "last.ckpt")["epoch"] == 1


@pytest.mark.parametrize("flags", [[], ["--trainer.accumulate_grad_batches", "11"]], ids=["", "gradients gathered"])
@pytest.mark.parametrize(
    ("hook", "at"), [("on_train_batch_end", 24), ("on_validation_start", 2)], ids=["in an epoch", "in validation"]
)
def test_a_checkpoint_from_inside_an_epoch_is_gone_on_from_to_the_same_weights_and_validations(
    hook, at, flags, monkeypatch, whole
):
    # twelve batches an epoch, of which the last checkpoint is written after the tenth, or where a step ends
    flags = [*flags, "--data.batch_size", "1", "--data.n_negatives", "4", "--last.minutes", "1e-9"]
    flags += ["--data.splits.share", "0.1", "--trainer.limit_train_batches", "12"]
    unbroken = whole("recall", *flags)
    with monkeypatch.context() as patch:
        usual = command.default_callbacks
        patch.setattr(command, "default_callbacks", lambda given: [*usual(given), Gone(hook, at)])
        with pytest.raises(RuntimeError, match="gone"):
            fit("recall", *flags)
    fit("recall", *flags, "--ckpt_path", str(checkpoints(0) / "last.ckpt"))
    for name in ("best.ckpt", "last.ckpt"):
        assert_equal_runs(checkpoints(1) / name, unbroken / name)


def test_the_same_command_starts_and_goes_on_where_it_is_given_a_folder(capsys, monkeypatch, whole):
    flags = ["--checkpoint.dirpath", "kept", "--ckpt_path", "last"]
    with monkeypatch.context() as patch:
        usual = command.default_callbacks
        patch.setattr(command, "default_callbacks", lambda given: [*usual(given), Gone("on_train_batch_end", 5)])
        with pytest.raises(RuntimeError, match="gone"):
            fit("recall", *flags)
    begun = read("kept/last.ckpt")["global_step"]
    fit("recall", *flags)
    assert 0 < begun < read("kept/last.ckpt")["global_step"]
    assert_equal_runs(Path("kept/last.ckpt"), whole("recall") / "last.ckpt")
    told = refusal(capsys, "fit", "--config", "recall.yaml", "--ckpt_path", "last")
    assert "--ckpt_path last: of which folder? Give it by --checkpoint.dirpath" in told


def test_no_last_checkpoint_is_kept_where_none_is_wanted():
    fit("recall", "--last.minutes", "null")
    assert [path.name for path in checkpoints(0).iterdir()] == ["best.ckpt"]


def test_a_run_goes_on_where_its_folder_was_moved_to(folder):
    fit("recall", *BEST_IS_FIRST, "--trainer.max_epochs", "2")
    (folder / "runs").rename(folder / "moved")
    fit("recall", *BEST_IS_FIRST, "--ckpt_path", str(checkpoints(0, "moved") / "last.ckpt"))
    assert_equal_runs(checkpoints(0) / "best.ckpt", checkpoints(0, "moved") / "best.ckpt")
    assert read(checkpoints(0) / "last.ckpt")["epoch"] == 2


def test_keeping_it_says_nothing(caplog):
    fit("recall")
    assert not [record for record in caplog.records if "weights_only" in record.getMessage()]


def test_the_last_checkpoint_is_that_of_the_last_epoch_and_not_of_the_best(whole):
    kept = whole("recall", *BEST_IS_FIRST)
    assert [read(kept / f"{name}.ckpt")["epoch"] for name in ("best", "last")] == [0, 2]


def written(monkeypatch, *flags):
    """At which steps the last checkpoint is written."""
    steps, write = [], WholeCheckpoints.save_checkpoint

    def noted(self, checkpoint, path, storage_options=None):
        if Path(path).name == "last.ckpt":
            steps.append(checkpoint["global_step"])
        write(self, checkpoint, path, storage_options)

    monkeypatch.setattr(WholeCheckpoints, "save_checkpoint", noted)
    fit("recall", "--data.batch_size", "1", *flags)
    return steps


def test_writing_it_takes_a_small_part_of_the_time_and_the_end_is_always_kept(monkeypatch):
    monkeypatch.setattr(last, "MOST_OF_TIME", 1e-9)
    assert written(monkeypatch) == [11, 33]


def test_it_is_written_inside_of_a_long_epoch_too(monkeypatch):
    assert written(monkeypatch, "--last.minutes", "1e-9") == [10, 11, 21, 22, 32, 33]
    assert written(monkeypatch, "--last.minutes", "0") == [11, 22, 33]


@pytest.mark.parametrize("minutes", ["-1", ".nan"])
def test_minutes_that_can_not_be_meant_are_told(capsys, minutes):
    told = refusal(capsys, "fit", "--config", "recall.yaml", "--last.minutes", minutes)
    assert f"last.minutes is {float(minutes.lstrip('.'))}: give a number above 0" in told


def test_a_checkpoint_that_fails_half_way_leaves_the_one_before(folder, monkeypatch):
    path = folder / "kept" / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"epoch": 1}, path)

    def full(checkpoint, file):
        file.write(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="full"):
        WholeCheckpoints().save_checkpoint({"epoch": 2}, path)
    assert read(path) == {"epoch": 1}
    assert [found.name for found in path.parent.iterdir()] == ["last.ckpt"]


def test_no_checkpoint_comes_from_another_file_system(monkeypatch):
    def copied(*_):
        raise AssertionError("a move is a copy there, and half of it is a broken checkpoint")

    monkeypatch.setattr("shutil.move", copied)
    fit("recall")
    assert read(checkpoints(0) / "best.ckpt")["global_step"] > 0


def test_the_folder_of_a_run_holds_its_settings_whole():
    fit("recall", "--data.batch_size", "2")
    kept = checkpoints(0).parent
    assert yaml.safe_load((kept / "config.yaml").read_text())["data"]["batch_size"] == 2
    assert yaml.safe_load((kept / "hparams.yaml").read_text())["data.batch_size"] == 2
