"""The program: what it answers to bad input, and how fast it helps."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from forked import Forked, program

from recall_lightning import MovieLens
from recall_lightning.cli.main import main
from recall_lightning.modules.checkpoint import read_checkpoint

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def config(typed, tiny_encoder) -> Path:
    """A config of a user's own two tables."""
    settings = {
        "trainer": {"logger": False, "accelerator": "cpu", "max_epochs": 1, "default_root_dir": str(typed)},
        "data": {
            "reader": {
                "class_path": "recall_lightning.Tabular",
                "init_args": {"interactions": str(typed / "interactions.csv"), "items": str(typed / "items.csv")},
            },
            "text": "{title} ({year}). {genres}",
        },
        "model": {"encoder": {"path": str(tiny_encoder)}},
    }
    (typed / "config.yaml").write_text(yaml.safe_dump(settings))
    return typed / "config.yaml"


def refusal(capsys, *arguments) -> str:
    """The one line on stderr of a command that ends with status 2."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert ended.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("recall-lightning")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("interactions.csv", None, "interactions.csv: no such file"),
        ("interactions.csv", "", "interactions.csv: the file is empty"),
        ("interactions.csv", "user_id,item_id\n", "interactions.csv"),
        ("interactions.csv", "user,item_id\nann,heat\n", "interactions.csv, row 1: no column 'user_id'"),
        (
            "interactions.csv",
            "user_id,item_id\nann,heat\nbob\n",
            "interactions.csv, row 3: 1 fields, but the header has 2",
        ),
        ("interactions.csv", "user_id,item_id,timestamp\nann,heat,soon\n", "interactions.csv, row 2: timestamp 'soon'"),
        ("interactions.csv", "user_id,item_id\nann,heat\nann,ghost\nann,alien\n", "no text for 1 item(s): 'ghost'"),
        ("interactions.csv", "user_id,item_id\nann,heat\nbob,alien\n", "each of the 2 user(s) has one interaction"),
        ("interactions.csv", "user_id,item_id\nann,heat\nann,alien\n", "no user has two interactions to train on"),
        ("items.csv", None, "items.csv: no such file"),
        ("items.csv", "item_id,title,year\nheat,Heat,1995\n", "items.csv: no column 'genres'"),
        (
            "items.csv",
            "item_id,title,year,genres\nheat,Heat,1995,Crime\nheat,Heat,1972,Crime\n",
            "items.csv, row 3: item 'heat' has another text than in row 2",
        ),
        ("items.csv", "item_id,title,year,genres\nheat,,,\n", "items.csv: no text for any item"),
    ],
)
def test_fit_tells_what_is_wrong_with_a_file_in_one_line(config, capsys, file, text, told):
    path = config.with_name(file)
    path.unlink() if text is None else path.write_text(text)
    assert told in refusal(capsys, "fit", "--config", config)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--data.batch_sise", "3"], "data.batch_sise"),
        (["--data.batch_size", "many"], "data.batch_size"),
        (["--data.batch_size", "0"], "data.batch_size is 0: give 1 or more"),
        (["--data.min_interactions", "9"], "no user is left of 3"),
        (["--model.ks", "[0]"], "model.ks is [0]"),
        (["--model.encoder.path", str(CONFIGS)], "holds no encoder"),
        (["--model.encoder.path", "./nowhere"], "no folder ./nowhere"),
        (["--model.loss", "RecallLoss", "--model.loss.temperature", "0"], "temperature is 0.0"),
        (["--model.user_tower", "TransformerTower", "--model.user_tower.heads", "5"], "heads is 5"),
        (["--ckpt_path", "nowhere.ckpt"], "nowhere.ckpt: no such checkpoint"),
        (["--trainer.enable_checkpointing", "false"], "enable_checkpointing"),
    ],
)
def test_fit_tells_what_is_wrong_with_a_setting_in_one_line(config, capsys, flags, told):
    assert told in refusal(capsys, "fit", "--config", config, *flags)


def test_a_config_that_is_not_there_is_told(capsys):
    assert "nowhere.yaml" in refusal(capsys, "fit", "--config", "nowhere.yaml")


def test_a_test_without_a_checkpoint_is_told(config, capsys):
    assert "--ckpt_path is missing" in refusal(capsys, "test", "--config", config)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing"], "invalid choice: 'nothing'"),
        (["recommend", "--ckpt", "a", "--histories", "b"], "--out"),
        (
            ["recommend", "--ckpt", "a", "--histories", "b", "--out", "c.csv", "--k", "0"],
            "0 is no whole number from 1 up",
        ),
        (["recommend", "--ckpt", "a", "--histories", "b", "--out", "c.xlsx"], "let it end in .csv or .parquet"),
        (["recommend", "--ckpt", "a.ckpt", "--histories", "b", "--out", "c.csv"], "a.ckpt: no such checkpoint"),
        (["similar", "--ckpt", "a.ckpt"], "--item --text"),
        (["fetch", "netflix"], "invalid choice: 'netflix'"),
        (["compare", "--config", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_a_wrong_flag_is_told_in_one_line(capsys, arguments, told):
    assert told.lower() in refusal(capsys, *arguments).lower()


def test_a_truncated_checkpoint_is_told(config, capsys):
    cut = config.with_name("cut.ckpt")
    cut.write_bytes(b"PK\x03\x04 cut")
    for command in (["fit", "--config", config, "--ckpt_path", cut], ["test", "--ckpt_path", cut],
                    ["similar", "--ckpt", cut, "--text", "heat"]):  # fmt: skip
        assert "cut.ckpt: no readable checkpoint" in refusal(capsys, *command)


@pytest.mark.parametrize(
    "command",
    [[], ["fit"], ["validate"], ["test"], ["predict"], ["fetch"], ["recommend"], ["similar"], ["compare"], ["serve"]],
)
def test_help_shows_an_example_without_any_heavy_import(command):
    asked = (
        "import sys\nfrom recall_lightning.cli.main import main\n"
        f"try:\n    main({[*command, '--help']})\nexcept SystemExit as ended:\n    assert not ended.code\n"
        "assert not {'torch', 'lightning', 'transformers', 'pyarrow', 'numpy'} & sys.modules.keys()\n"
    )
    answer = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert "example: recall-lightning " + " ".join(command) in answer.stdout


def test_what_help_shows_of_fit_is_what_fit_takes(capsys):
    main(["fit", "--help"])
    shown = set(re.findall(r"--[a-z_.-]+", capsys.readouterr().out.partition("options:")[2])) - {"--help-all"}
    assert {"--method", "--auto.minutes", "--config"} <= shown
    with pytest.raises(SystemExit):
        main(["fit", "--help-all"])
    assert shown <= set(re.findall(r"--[a-z_.]+", capsys.readouterr().out))


DATA_CONFIGS = ["amazon-office", "book-crossing", "movielens-100k", "movielens-1m", "own-data"]
SPLIT_CONFIGS = {"cold-users": "cold_users", "new-items": "new_items", "temporal": "temporal"}


def printed(capsys, *configs):
    """What `--print_config` makes of config files given one after the other."""
    with pytest.raises(SystemExit) as ended:
        main(["fit", *(word for path in configs for word in ("--config", str(path))), "--print_config"])
    assert ended.value.code == 0
    return yaml.safe_load(capsys.readouterr().out)


def test_every_config_of_data_can_be_parsed(capsys):
    assert sorted(path.stem for path in CONFIGS.glob("*.yaml")) == DATA_CONFIGS
    for name in DATA_CONFIGS:
        made = printed(capsys, CONFIGS / f"{name}.yaml")
        assert made["model"]["encoder"]["path"] == "downloads/minilm"
        assert made["data"]["splits"]["name"] == "leave_last_out"


@pytest.mark.parametrize("split", SPLIT_CONFIGS)
def test_every_config_of_a_split_goes_over_every_config_of_data(capsys, split):
    assert sorted(path.stem for path in (CONFIGS / "splits").glob("*.yaml")) == sorted(SPLIT_CONFIGS)
    for name in DATA_CONFIGS:
        made = printed(capsys, CONFIGS / f"{name}.yaml", CONFIGS / "splits" / f"{split}.yaml")
        assert made["data"]["splits"]["name"] == SPLIT_CONFIGS[split]


@pytest.mark.parametrize("name", ["amazon-office", "movielens-100k", "movielens-1m"])
def test_every_config_of_cold_users_can_be_parsed_alone_and_under_maml(capsys, name, tmp_path):
    folder = CONFIGS / "cold-users"
    found = sorted(path.stem for path in folder.glob("*.yaml"))
    assert found == ["amazon-office", "anywhere", "later", "maml", "movielens-100k", "movielens-1m", "newcomers"]
    base = printed(capsys, folder / f"{name}.yaml")
    metas = [
        printed(capsys, folder / f"{name}.yaml", folder / "maml.yaml", folder / f"{over}.yaml")
        for over in ("later", "anywhere")
    ]
    assert base["method"] == "recall"
    for meta in metas:
        assert meta["method"] == "maml"
        assert base["model"]["item_tower"] == meta["model"]["item_tower"]
    for made in (base, *metas):
        assert made["data"]["splits"]["name"] == "cold_users"
        assert made["model"]["encoder"]["path"] == "downloads/minilm"


def test_the_config_of_newcomers_trains_on_what_they_take_and_asks_about_them(capsys):
    folder = CONFIGS / "cold-users"
    made = printed(capsys, folder / "movielens-1m.yaml", folder / "newcomers.yaml")
    splits = made["data"]["splits"]
    assert (made["method"], made["data"]["train_first"]) == ("recall", 20)
    assert (splits["name"], splits["query"], splits["support"]) == ("cold_users", "next", "first")


@pytest.mark.parametrize(("name", "residual_dropout"), [("amazon-office", 0.5), ("movielens-1m", 0.3)])
def test_a_data_sets_config_of_new_items_trains_a_part_of_the_encoder_of_the_config_that_it_is_over(
    capsys, name, residual_dropout
):
    folder = CONFIGS / "new-items"
    assert sorted(path.stem for path in folder.glob("*.yaml")) == [
        "amazon-office",
        "movielens-1m",
        "movielens-1m-plots",
        "words",
    ]
    made = printed(capsys, CONFIGS / f"{name}.yaml", folder / f"{name}.yaml")
    assert made["data"]["splits"]["name"] == "new_items"
    assert made["model"]["encoder"]["frozen_layers"] == 4
    items = made["model"]["item_tower"]["init_args"]
    assert (items["dim"], items["residual"], items["residual_dropout"]) == (128, True, residual_dropout)


def test_the_config_of_words_goes_over_every_config_of_data_and_changes_nothing_else_of_its_items(capsys):
    for name in DATA_CONFIGS:
        base, made = (
            printed(capsys, CONFIGS / f"{name}.yaml", *over) for over in ([], [CONFIGS / "new-items" / "words.yaml"])
        )
        assert made["data"]["splits"]["name"] == "new_items"
        assert made["model"]["encoder"] == base["model"]["encoder"]
        assert made["model"]["item_tower"]["init_args"] == base["model"]["item_tower"]["init_args"] | {"words": 3}


def test_the_config_of_new_films_with_plots_reads_all_that_is_told_of_a_film(capsys, tmp_path):
    over = [CONFIGS / "new-items" / f"movielens-1m{plots}.yaml" for plots in ("", "-plots")]
    without, made = (printed(capsys, CONFIGS / "movielens-1m.yaml", *over[:n]) for n in (1, 2))
    (tmp_path / "ratings.dat").write_text("1::1::5::978300760\n")
    (tmp_path / "movies.dat").write_text("1::Heat (1995)::Action\n")
    told = "1::Heat::1995::R::15 Dec 1995::Action::Michael Mann::Michael Mann::Al Pacino::Thieves.::http"
    (tmp_path / "movies_extrainfos.dat").write_text(told + "\n")
    (text,) = MovieLens(str(tmp_path)).read_items(made["data"]["text"]).texts
    assert text == "Heat (1995). Action. Michael Mann. Al Pacino. Thieves."
    assert made["model"] == without["model"]


def test_over_every_config_of_data_a_model_can_be_made_that_knows_items_by_their_text_alone(capsys):
    for name in DATA_CONFIGS:
        made = printed(capsys, CONFIGS / f"{name}.yaml", CONFIGS / "transfer" / "text-only.yaml")["model"]
        items = made["item_tower"]["init_args"]
        assert items["dim"] is None
        parts = [items["residual"], *(made[part] for part in ("prior", "transitions", "neighbours"))]
        assert not any(parts)


@pytest.mark.parametrize("name", ["amazon-office", "movielens-1m"])
def test_every_config_of_pretraining_reads_the_texts_of_the_config_that_it_is_for(capsys, name):
    folder = CONFIGS / "pretrain"
    assert sorted(path.stem for path in folder.glob("*.yaml")) == ["amazon-office", "movielens-1m"]
    made, after = printed(capsys, folder / f"{name}.yaml"), printed(capsys, CONFIGS / f"{name}.yaml")
    assert made["method"] == "pretrain"
    for key in ("reader", "text", "max_text_tokens", "splits", "seed"):
        assert made["data"][key] == after["data"][key]
    for callback in ("checkpoint", "early_stopping"):
        assert (made[callback]["monitor"], made[callback]["mode"]) == ("val/loss", "min")
        assert (after[callback]["monitor"], after[callback]["mode"]) == ("val/recall@10", "max")


def test_from_a_users_own_tables_to_recommendations(config, capsys, monkeypatch):
    monkeypatch.chdir(config.parent)
    main(["fit", "--config", str(config), "--checkpoint.dirpath", "kept", "--data.max_encoded_items", "3"])
    assert "kept in kept/best.ckpt" in capsys.readouterr().out
    main(["test", "--ckpt_path", "kept/best.ckpt", "--trainer.logger", "false"])
    assert "test/recall@10" in capsys.readouterr().out
    main(["predict", "--ckpt_path", "kept/best.ckpt", "--trainer.logger", "false"])
    assert (config.parent / "recommendations.csv").read_text().startswith("user_id,item_id,rank,score\n")
    flags = ["--ckpt", "kept/best.ckpt", "--histories", "interactions.csv", "--k", "2", "--show", "1"]
    main(["recommend", *flags, "--out", "one.csv"])
    assert "From Russia, with Love" in capsys.readouterr().out
    main(["recommend", *flags, "--out", "two.csv"])
    assert Path("one.csv").read_bytes() == Path("two.csv").read_bytes()
    # ann met all but one; bob and cy have two and one left
    assert [line.split(",")[0] for line in Path("one.csv").read_text().splitlines()[1:]] == ["ann", "bob", "bob", "cy"]
    capsys.readouterr()
    main(["compare", "--config", str(config), "--ckpt", "kept/best.ckpt", "--models", "popularity,encoder"])
    table = capsys.readouterr().out
    assert table.startswith("test: 3 users, 5 items")
    assert {line.split()[0] for line in table.splitlines()[3:6]} == {"popularity", "untouched", "trained"}
    main(["similar", "--ckpt", "kept/best.ckpt", "--text", "a heist", "--k", "3"])
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_early_stopping_by_a_metric_of_training_needs_no_validation(config, monkeypatch):
    monkeypatch.chdir(config.parent)
    stop = ["--early_stopping.monitor", "train/loss", "--early_stopping.mode", "max", "--early_stopping.patience", "1"]
    fit = ["fit", "--config", str(config), "--trainer.max_epochs", "5", "--checkpoint.dirpath", "kept"]
    main([*fit, "--trainer.limit_val_batches", "0", "--early_stopping.min_delta", "1e9", *stop])
    assert read_checkpoint(Path("kept/last.ckpt"))["epoch"] == 1


@pytest.mark.parametrize("flags", [["--trainer.max_steps", "1"], ["--trainer.limit_val_batches", "0"]])
def test_training_that_ends_before_it_has_validated_leaves_a_model(config, capsys, monkeypatch, flags):
    monkeypatch.chdir(config.parent)
    fit = ["fit", "--config", str(config), "--trainer.max_epochs", "2", "--data.batch_size", "1"]
    main([*fit, "--checkpoint.dirpath", "kept", *flags])
    assert [path.name for path in Path("kept").iterdir()] == ["last.ckpt"]
    assert "no best checkpoint was kept; the last step's is kept/last.ckpt" in capsys.readouterr().out
    main(["recommend", "--ckpt", "kept/last.ckpt", "--histories", "interactions.csv", "--k", "2", "--out", "one.csv"])
    assert Path("one.csv").read_text().startswith("user_id,item_id,rank,score\nann,")


def test_a_metric_to_stop_by_that_is_not_logged_is_an_error(config, monkeypatch):
    monkeypatch.chdir(config.parent)
    with pytest.raises(RuntimeError, match="val/recal@10"):
        main(["fit", "--config", str(config), "--early_stopping.monitor", "val/recal@10"])


def test_ctrl_c_keeps_a_checkpoint_to_go_on_from(movielens, tiny_encoder, tmp_path):
    command = [
        "fit", "--config", str(CONFIGS / "movielens-100k.yaml"),
        "--data.reader.init_args.path", str(movielens), "--model.encoder.path", str(tiny_encoder),
        "--trainer.precision", "32-true", "--trainer.max_epochs", "100", "--checkpoint.dirpath", str(tmp_path / "kept"),
        "--trainer.logger", "false", "--trainer.default_root_dir", str(tmp_path),
        "--trainer.val_check_interval", "5", "--trainer.limit_val_batches", "1", "--early_stopping.patience", "1000",
    ]  # fmt: skip
    begun = Forked(program, command)
    deadline = time.monotonic() + 120
    while not (tmp_path / "kept" / "best.ckpt").exists():
        assert begun.alive, begun.stderr(timeout=60)[-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    begun.send_signal(signal.SIGINT)
    assert begun.wait(timeout=60) == 1
    assert read_checkpoint(tmp_path / "kept" / "interrupted.ckpt")["global_step"] > 0


def test_a_checkpoint_is_not_tested_on_a_split_that_it_may_have_been_trained_on(config, capsys, monkeypatch):
    monkeypatch.chdir(config.parent)
    main(["fit", "--config", str(config), "--checkpoint.dirpath", "kept"])
    capsys.readouterr()
    other = [
        "--data.splits.name",
        "cold_users",
        "--data.splits.share",
        "0.3",
        "--data.splits.k",
        "1",
        "--data.seed",
        "2",
    ]
    told = refusal(capsys, "test", "--config", config, "--ckpt_path", "kept/best.ckpt", *other)
    assert "trained on another training part than the config's split gives" in told
