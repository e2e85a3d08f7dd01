"""`method: pretrain`: from a user's own items to a folder that `model.encoder.path` takes."""

import shlex

import pytest
import torch
import yaml
from test_main import refusal

from recall_lightning.cli.main import main
from recall_lightning.modules.pretrain import PretrainModule
from recall_lightning.pretrained import load_model

SPLIT = ["--data.splits.name", "cold_users", "--data.splits.share", "0.3", "--data.splits.k", "1"]


@pytest.fixture(autouse=True)
def folder(tmp_path, tiny_encoder, monkeypatch):
    """Where the commands run: sixteen users, thirty items, `configs/pretrain/own.yaml` and `configs/own.yaml`."""
    rows = [f"user{u},item{(u * 3 + n) % 30},{n}\n" for u in range(16) for n in range(6)]
    (tmp_path / "ratings.csv").write_text("user_id,item_id,timestamp\n" + "".join(rows))
    (tmp_path / "items.csv").write_text("item_id,title\n" + "".join(f"item{n},film number {n}\n" for n in range(30)))
    settings = {
        "trainer": {"logger": False, "accelerator": "cpu", "max_epochs": 2, "default_root_dir": str(tmp_path)},
        "data": {
            "reader": {"class_path": "Tabular", "init_args": {"interactions": "ratings.csv", "items": "items.csv"}},
            "text": "{title}",
        },
        "model": {"encoder": {"path": str(tiny_encoder)}},
    }  # fmt: skip
    (tmp_path / "configs" / "pretrain").mkdir(parents=True)
    (tmp_path / "configs" / "own.yaml").write_text(yaml.safe_dump(settings))
    settings["data"]["validation_share"] = 0.3
    (tmp_path / "configs" / "pretrain" / "own.yaml").write_text(yaml.safe_dump({"method": "pretrain", **settings}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pretrain(*flags, to="kept"):
    main(["fit", "--config", "configs/pretrain/own.yaml", "--checkpoint.dirpath", to, *flags])
    return f"{to}/best.ckpt"


def test_the_line_that_a_run_prints_fine_tunes_its_encoder(capsys):
    pretrain()
    told = capsys.readouterr().out.splitlines()
    (line,) = [line for line in told if line.startswith("recall-lightning")]
    assert line == "recall-lightning fit --config configs/own.yaml --model.encoder.path kept/encoder"
    main([*shlex.split(line)[1:], "--model.encoder.frozen_layers", "-1"])
    assert "best val/recall@10" in capsys.readouterr().out


def test_the_folder_holds_the_weights_that_validated_best_and_not_the_last_ones(folder):
    # by the largest loss, since it falls here: the first epoch's weights are then the best
    best = pretrain("--checkpoint.mode", "max")
    assert torch.load(best, weights_only=True)["epoch"] == 0
    weights = load_model("kept/encoder").state_dict()
    expected = PretrainModule.load_from_checkpoint(best).model.encoder.model.state_dict()
    assert all(weights[name].equal(value) for name, value in expected.items())
    assert [found.name for found in (folder / "kept").iterdir() if found.name.startswith(".")] == []


def test_a_checkpoint_can_be_validated_and_gone_on_with(capsys):
    best = pretrain()
    capsys.readouterr()
    main(["validate", "--ckpt_path", best, "--trainer.logger", "false"])
    assert "val/perplexity" in capsys.readouterr().out
    pretrain("--ckpt_path", best, "--trainer.max_epochs", "3", to="more")
    assert torch.load("more/last.ckpt", weights_only=True)["epoch"] == 2


def test_commands_that_rank_say_that_it_is_an_encoder_and_how_to_go_on(capsys):
    best = pretrain()
    capsys.readouterr()
    own = ["--config", "configs/own.yaml"]
    for command in [
        ["recommend", "--ckpt", best, "--histories", "ratings.csv", "--out", "out.csv"],
        ["similar", "--ckpt", best, "--item", "item0"],
        ["compare", *own, "--ckpt", best],
        ["adapt", *own, *SPLIT, "--ckpt", best],
        ["fit", *own, *SPLIT, "--method", "maml", "--data.eval_support", "[1]", "--model.init_from", best],
    ]:
        told = refusal(capsys, *command)
        assert "kept/best.ckpt: a pretrained encoder (method: pretrain), which can't rank items yet" in told
        assert "`fit --config FILE.yaml --model.encoder.path kept/encoder`" in told
    for command in ("test", "predict"):
        assert f"`{command}` is of models that rank items" in refusal(capsys, command, "--ckpt_path", best)
    told = refusal(capsys, "fit", *own, "--ckpt_path", best)
    assert "trained with `method: pretrain`, but the method given is recall" in told


def test_the_baselines_of_its_data_can_be_compared(capsys):
    main(["compare", "--config", "configs/pretrain/own.yaml", "--models", "popularity"])
    assert "popularity" in capsys.readouterr().out
