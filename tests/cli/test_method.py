"""`--method`: the same commands for a model that learns from users as tasks."""

import pytest
import torch
import yaml
from test_main import refusal

from recall_lightning.cli.main import main
from recall_lightning.cli.trainer import _method
from recall_lightning.modules.loading import load_module
from recall_lightning.modules.maml import MAMLRecallModule
from recall_lightning.modules.recall import RecallModule

ITEMS = ["alien", "brazil", "casino", "dune", "fargo", "heat", "jaws", "up"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where the commands run: sixteen users with six of eight items each."""
    rows = [f"user{u},{ITEMS[(u * 3 + n) % 8]},{n}\n" for u in range(16) for n in range(6)]
    (tmp_path / "ratings.csv").write_text("user_id,item_id,timestamp\n" + "".join(rows))
    (tmp_path / "items.csv").write_text("item_id,title\n" + "".join(f"{item},{item}\n" for item in ITEMS))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def configs(folder, tiny_encoder):
    """`recall.yaml`, and `maml.yaml`, which differs in its method alone."""
    settings = {
        "trainer": {"logger": False, "accelerator": "cpu", "max_epochs": 1, "default_root_dir": str(folder)},
        "data": {
            "reader": {"class_path": "Tabular", "init_args": {"interactions": "ratings.csv", "items": "items.csv"}},
            "text": "{title}", "splits": {"name": "cold_users", "share": 0.2, "k": 1},
        },
        "model": {"encoder": {"path": str(tiny_encoder)}, "ks": [2], "predict_k": 2},
        "checkpoint": {"monitor": "val/recall@2"}, "early_stopping": {"monitor": "val/recall@2"},
    }  # fmt: skip
    (folder / "recall.yaml").write_text(yaml.safe_dump(settings))
    (folder / "maml.yaml").write_text(yaml.safe_dump({"method": "maml", **settings}))


EPISODES = ["--data.eval_support", "[1, 3]"]


def fit(config, to, *flags):
    main(["fit", "--config", config, "--checkpoint.dirpath", to, *flags])
    return f"{to}/best.ckpt"


def test_from_a_users_own_tables_to_a_meta_trained_model(capsys):
    start = fit("recall.yaml", "start")
    assert type(load_module(start)) is RecallModule
    best = fit("recall.yaml", "meta", "--method", "maml", "--model.init_from", start, *EPISODES)
    assert "best val/recall@2" in capsys.readouterr().out
    assert type(load_module(best)) is MAMLRecallModule
    for command, stage in [("validate", "val"), ("test", "test")]:  # with the settings it was trained with
        main([command, "--ckpt_path", best, "--trainer.logger", "false"])
        told = capsys.readouterr().out
        assert f"{stage}/recall@2" in told
        assert told.count("DataLoader") == 1  # one column of figures
        assert f"{stage}_support_3" in told
        assert f"{stage}_support_5" not in told
    main(["predict", "--ckpt_path", best, "--trainer.logger", "false"])
    with open("recommendations.csv") as file:
        assert len(file.readlines()) == 1 + 16 * 2


def test_training_goes_on_where_it_stopped():
    start = fit("recall.yaml", "start")
    flags = ["--model.init_from", start, *EPISODES]
    best = fit("maml.yaml", "meta", *flags)
    fit("maml.yaml", "more", *flags, "--ckpt_path", best, "--trainer.max_epochs", "2")
    assert [torch.load(path, weights_only=True)["epoch"] for path in (best, "more/last.ckpt")] == [0, 1]


@pytest.mark.parametrize(
    ("flags", "method"),
    [
        (["--config", "recall.yaml"], "recall"),
        (["--config", "maml.yaml"], "maml"),
        (["--config=maml.yaml"], "maml"),
        (["--config", "recall.yaml", "--method", "maml"], "maml"),
        (["--method=maml", "--config", "recall.yaml"], "maml"),
        (["--config", "maml.yaml", "--method", "recall"], "recall"),  # a flag wins over a file
        (["--config", "maml.yaml", "--config", "recall.yaml"], "maml"),  # which says nothing of it
        (["--config", "nowhere.yaml"], "recall"),  # the parser tells what is wrong with it
    ],
)
def test_the_method_is_that_of_the_flag_or_else_of_the_config(flags, method):
    assert _method(["fit", *flags]) == method


@pytest.mark.parametrize("flags", [["--config", "maml.yaml"], ["--config", "recall.yaml", "--method", "maml"]])
def test_the_method_decides_which_settings_there_are(capsys, flags):
    with pytest.raises(SystemExit) as ended:
        main(["fit", *flags, "--print_config"])
    made = yaml.safe_load(capsys.readouterr().out)
    assert (ended.value.code, made["method"]) == (0, "maml")
    assert made["model"]["inner_loop"]["steps"] == 5
    assert made["data"]["eval_support"] == [1, 2, 3, 5, 10]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--method", "reptile"], "method is reptile: give one of recall, maml"),
        (["--model.inner_loop.steps", "3"], "model.inner_loop"),
        (["--method", "maml", "--data.eval_support", "[6]"], "data.eval_support is [6], but no user held out"),
        (["--method", "maml", *EPISODES, "--model.fast_weights", "WholeTower", "--model.user_tower", "MeanTower"],
         "model.fast_weights: MeanTower has no weights to adapt"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_told_in_one_line(capsys, flags, told):
    assert told in refusal(capsys, "fit", "--config", "recall.yaml", *flags)


def test_a_method_that_a_config_misspells_is_told(capsys, folder):
    (folder / "wrong.yaml").write_text("method: MAML\n")
    assert "method is MAML: give one of recall, maml" in refusal(
        capsys, "fit", "--config", "recall.yaml", "--config", "wrong.yaml"
    )


def test_a_checkpoint_is_judged_by_data_of_its_own_method(capsys):
    recall, meta = fit("recall.yaml", "start"), fit("maml.yaml", "meta", *EPISODES)
    for given, other, checkpoint in [("recall", "maml", meta), ("maml", "recall", recall)]:
        flags = ["--config", f"{given}.yaml", "--ckpt_path", checkpoint, "--data.eval_support", "[1]"]
        for command in ("test", "fit"):
            told = refusal(capsys, command, *(flags if given == "maml" else flags[:4]))
            assert f"best.ckpt: trained with `method: {other}`, but the method given is {given}" in told
