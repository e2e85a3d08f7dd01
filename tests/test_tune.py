"""`scripts/tune.py`: a search over a config's keys that can be gone on with."""

import importlib.util
import io
import shutil
import subprocess
import traceback
from contextlib import redirect_stderr, redirect_stdout
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


LR = {"low": 0.001, "high": 0.01, "log": True}
SPACE = {"model.optimizer.tower_lr": LR, "data.batch_size": {"choice": [2]}}


@pytest.fixture(scope="module")
def config(write_typed, tiny_encoder, tmp_path_factory):
    typed = write_typed(tmp_path_factory.mktemp("typed"))
    files = {name: str(typed / f"{name}.csv") for name in ("interactions", "items")}
    settings = {
        "trainer": {"accelerator": "cpu", "max_epochs": 1},
        "data": {"reader": {"class_path": "recall_lightning.Tabular", "init_args": files}, "text": "{title}. {genres}"},
        "model": {"encoder": {"path": str(tiny_encoder), "frozen_layers": -1}},
    }
    (typed / "config.yaml").write_text(yaml.safe_dump(settings))
    return typed / "config.yaml"


def search(config, space, trials, folder):
    """Search as the script does, with the study in a folder; gives the path of the config that it is to leave."""
    (folder / "space.yaml").write_text(yaml.safe_dump(space))
    study = folder / "studies" / "small.db"
    tune.main([
        "--space", str(folder / "space.yaml"), "--study", str(study), "--trials", str(trials), "--config", str(config),
    ])  # fmt: skip
    return study.with_suffix(".best.yaml")


def inside(arguments):
    """What `tune._program` gives, of a run inside this process: one of its own takes many seconds to begin."""
    with redirect_stdout(io.StringIO()) as stdout, redirect_stderr(io.StringIO()) as stderr:
        try:
            program(arguments)
            status = 0
        except SystemExit as ended:
            status = ended.code or 0
        except Exception:
            traceback.print_exc()
            status = 1
    return subprocess.CompletedProcess(arguments, status, stdout.getvalue(), stderr.getvalue())


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(tune, "_program", inside)


@pytest.fixture(scope="module")
def begun(config, tmp_path_factory):
    """The folder of a study that one trial is in, for tests to copy."""
    folder = tmp_path_factory.mktemp("begun")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tune, "_program", inside)
        search(config, SPACE, 1, folder)
    return folder


@pytest.fixture
def copied(begun, tmp_path):
    return shutil.copytree(begun, tmp_path / "copied")


def trials(folder):
    optuna = pytest.importorskip("optuna")
    storage = f"sqlite:///{folder / 'studies' / 'small.db'}"
    return optuna.load_study(study_name="tune", storage=storage).trials


def test_a_search_by_processes_of_their_own_leaves_a_config_that_fit_takes(config, tmp_path, capsys):
    best = search(config, SPACE, 1, tmp_path)
    told = capsys.readouterr().out
    assert "going on" not in told
    assert "trial 0: " in told
    assert "the best of 1 trials" in best.read_text()
    with pytest.raises(SystemExit) as ended:
        program(["fit", "--config", str(config), "--config", str(best), "--print_config"])
    assert not ended.value.code
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["data"]["batch_size"] == 2
    assert 0.001 <= printed["model"]["optimizer"]["tower_lr"] <= 0.01


def test_a_run_inside_this_process_is_told_as_one_of_its_own_is(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")  # or --help would be as wide as the terminal that tests may run in
    for arguments in (["--help"], ["fly"]):
        here, there = inside(arguments), tune._program(arguments)
        assert (here.returncode, here.stdout, here.stderr) == (there.returncode, there.stdout, there.stderr)


def test_a_search_goes_on_where_it_ended_and_draws_other_settings_than_it_began_with(config, copied, quick, capsys):
    best = search(config, SPACE, 1, copied)
    told = capsys.readouterr().out
    assert "1 trials are in" in told
    assert "trial 1: " in told
    assert "the best of 2 trials" in best.read_text()
    first, second = (trial.params for trial in trials(copied))
    assert first["model.optimizer.tower_lr"] != second["model.optimizer.tower_lr"]


def test_trials_that_fail_are_told_and_leave_no_config(config, tmp_path, quick, capsys):
    with pytest.raises(InputError, match="no trial came to an end"):
        search(config, {"data.batch_size": {"choice": [0]}}, 1, tmp_path)
    assert "trial 0: failed" in capsys.readouterr().out
    assert not list(tmp_path.rglob("*.best.yaml"))


@pytest.mark.parametrize(("direction", "best"), [("maximize", 7), ("minimize", 0)])
def test_the_report_puts_the_better_value_first_and_tells_what_mattered(tmp_path, capsys, direction, best):
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study(direction=direction)
    for size in range(8):
        ranges = {"data.batch_size": optuna.distributions.IntDistribution(0, 7)}
        trial = optuna.trial.create_trial(params={"data.batch_size": size}, distributions=ranges, value=size / 10)
        study.add_trial(trial)
    tune.report(study, tmp_path / "best.yaml")
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"{best / 10:.4f}  data.batch_size {best}"
    assert "importance: data.batch_size 1.00" in told
    assert yaml.safe_load((tmp_path / "best.yaml").read_text()) == {"data": {"batch_size": best}}


def test_a_key_that_the_config_does_not_have_is_refused_before_the_first_trial(config, tmp_path, quick):
    with pytest.raises(InputError, match=r"space\.yaml, with the flags given: .*colour"):
        search(config, {"data.colour": {"choice": ["red"]}}, 1, tmp_path)
    assert not (tmp_path / "studies").exists()


def test_a_study_of_another_space_is_refused_and_stays_as_it_was(config, copied, quick):
    with pytest.raises(InputError, match=r"small\.db: a study of space .*--study a new name"):
        search(config, SPACE | {"data.batch_size": {"choice": [2, 3]}}, 1, copied)
    assert len(trials(copied)) == 1


def test_a_file_that_is_no_study_is_refused_and_kept(config, tmp_path, quick):
    path = tmp_path / "studies" / "small.db"
    path.parent.mkdir()
    path.write_text("user_id,item_id\n" * 99)
    with pytest.raises(InputError, match=r"small\.db: no study \(file is not a database\)"):
        search(config, {"data.batch_size": {"choice": [2]}}, 1, tmp_path)
    assert path.read_text() == "user_id,item_id\n" * 99


def test_a_choice_may_be_a_list_and_a_class_comes_with_its_arguments(config, tmp_path, quick, capsys):
    space = {
        "model.ks": {"choice": [[10, 20]]},
        "model.user_tower": {"choice": ["recall_lightning.TransformerTower"]},
        "model.user_tower.init_args.layers": {"choice": [1]},
    }
    best = search(config, space, 1, tmp_path)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        program(["fit", "--config", str(config), "--config", str(best), "--print_config"])
    assert not ended.value.code
    printed = yaml.safe_load(capsys.readouterr().out)["model"]
    assert printed["ks"] == [10, 20]
    assert printed["user_tower"]["class_path"].endswith("TransformerTower")
    assert printed["user_tower"]["init_args"]["layers"] == 1


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
