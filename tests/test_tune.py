"""`scripts/tune.py`: a search over a config's keys that can be gone on with."""

import importlib.util
from pathlib import Path

import pytest
import yaml

from recall_lightning import InputError
from recall_lightning.cli.main import main as program

pytest.importorskip("optuna")
SCRIPT = Path(__file__).parent.parent / "scripts" / "tune.py"
spec = importlib.util.spec_from_file_location("tune", SCRIPT)
tune = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tune)


@pytest.fixture
def config(typed, tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = {name: str(typed / f"{name}.csv") for name in ("interactions", "items")}
    settings = {
        "trainer": {"accelerator": "cpu", "max_epochs": 1},
        "data": {"reader": {"class_path": "recall_lightning.Tabular", "init_args": files}, "text": "{title}. {genres}"},
        "model": {"encoder": {"path": str(tiny_encoder), "frozen_layers": -1}},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path / "config.yaml"


def search(config, space, trials):
    (config.parent / "space.yaml").write_text(yaml.safe_dump(space))
    study = config.parent / "studies" / "small.db"
    tune.main([
        "--space", str(config.parent / "space.yaml"), "--study", str(study), "--trials", str(trials),
        "--config", str(config),
    ])  # fmt: skip
    return study.with_suffix(".best.yaml")


def test_a_search_leaves_a_config_that_fit_takes_and_goes_on_where_it_ended(config, capsys):
    space = {"model.optimizer.tower_lr": {"low": 0.001, "high": 0.01, "log": True}, "data.batch_size": {"choice": [2]}}
    best = search(config, space, 1)
    assert "going on" not in capsys.readouterr().out
    assert search(config, space, 1) == best
    told = capsys.readouterr().out
    assert "1 trials are in" in told
    assert "trial 1: " in told
    assert "the best of 2 trials" in best.read_text()
    with pytest.raises(SystemExit) as ended:
        program(["fit", "--config", str(config), "--config", str(best), "--print_config"])
    assert not ended.value.code
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["data"]["batch_size"] == 2
    assert 0.001 <= printed["model"]["optimizer"]["tower_lr"] <= 0.01


def test_trials_that_fail_are_told_and_leave_no_config(config, capsys):
    with pytest.raises(InputError, match="no trial came to an end"):
        search(config, {"data.batch_size": {"choice": [0]}}, 1)
    assert "trial 0: failed" in capsys.readouterr().out
    assert not list(config.parent.rglob("*.best.yaml"))


def test_a_key_that_the_config_does_not_have_is_refused_before_the_first_trial(config):
    with pytest.raises(InputError, match=r"space\.yaml, with the flags given: .*colour"):
        search(config, {"data.colour": {"choice": ["red"]}}, 1)
    assert not (config.parent / "studies").exists()


@pytest.mark.parametrize(
    "values", [[1, 2], {"choice": []}, {"low": 1}, {"low": 2, "high": 1}, {"low": 0, "high": 1, "log": True}, 7]
)
def test_values_in_no_form_that_is_known_are_refused_with_their_key(tmp_path, values):
    (tmp_path / "space.yaml").write_text(yaml.safe_dump({"data.max_history": values}))
    with pytest.raises(InputError, match=r"space\.yaml, data\.max_history: .*neither"):
        tune.read_space(tmp_path / "space.yaml")


@pytest.mark.parametrize("text", ["", "just words", "a: [", None])
def test_a_space_without_keys_is_refused(tmp_path, text):
    path = tmp_path / "space.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=r"space\.yaml: (holds no keys|can't be read)"):
        tune.read_space(path)
