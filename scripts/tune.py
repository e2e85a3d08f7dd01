"""Search settings on the validation cases, with Optuna; the test is never looked at.

    python scripts/tune.py --space configs/tune/towers.yaml --study runs/tune/movielens-100k.db --trials 20 \\
      --config configs/movielens-100k.yaml [--KEY VALUE ...]

The space names keys of the config, each with `choice: [...]`, or with `low`, `high` and optionally `log: true` or
`int: true`. A trial is a `fit` with what all other flags say, its value the best validation metric. Trials are kept in
the study's file: the same command goes on with it, also after Ctrl-C. At the end the best settings stand beside it, as
a config to be given after the one that was searched on.
"""

import argparse
import importlib.util
import logging
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from recall_lightning.cli.flags import as_config, as_flags
from recall_lightning.errors import InputError
from recall_lightning.whole import written_whole

if TYPE_CHECKING:
    import optuna

FORMS = ({"choice"}, {"low", "high"}, {"low", "high", "log"}, {"low", "high", "int"}, {"low", "high", "log", "int"})


def main(given: list[str]) -> None:
    """Search, print the best trials, and write the best settings.

    Raises:
        InputError: if the space or a flag can't be used, optuna is missing, or no trial came to an end.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", type=Path, required=True, help="YAML of the keys to search over")
    parser.add_argument("--study", type=Path, required=True, help="file of the trials, made where it is missing")
    parser.add_argument("--trials", type=int, default=20, help="how many more")
    parser.add_argument("--minutes", type=float, help="no trial begins after so long")
    parser.add_argument("--seed", type=int, default=0, help="of the search")
    asked, flags = parser.parse_known_args(given)
    if importlib.util.find_spec("optuna") is None:
        raise InputError("optuna is not installed: pip install 'recall-lightning[tune]'")
    space = read_space(asked.space)
    first = {key: values["choice"][0] if "choice" in values else values["low"] for key, values in space.items()}
    told = _program(["fit", *flags, *as_flags(first), "--print_config"])
    if told.returncode:
        raise InputError(f"{asked.space}, with the flags given: {told.stderr.strip() or 'fit refused them'}")
    higher = yaml.safe_load(told.stdout)["checkpoint"]["mode"] == "max"
    study = open_study(asked.study, {"space": space, "flags": flags}, asked.seed, higher=higher)
    study.optimize(
        lambda trial: run_trial(trial, space, flags), n_trials=asked.trials, catch=(InputError,), callbacks=[_tell],
        timeout=None if asked.minutes is None else 60 * asked.minutes,
    )  # fmt: skip
    report(study, asked.study.with_suffix(".best.yaml"))


def open_study(path: Path, searched: dict[str, Any], seed: int, *, higher: bool) -> "optuna.Study":
    """The study that a file holds, made where there is none.

    Args:
        path: the file.
        searched: space and flags; one study compares trials of the same ones alone.
        seed: of the search.
        higher: whether the larger of two values is the better one.

    Raises:
        InputError: if the file is no study, or one of another search.
    """
    import optuna
    from sqlalchemy.exc import DatabaseError

    path.parent.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(
            study_name="tune", storage=f"sqlite:///{path}", load_if_exists=True,
            direction="maximize" if higher else "minimize",
        )  # fmt: skip
    except DatabaseError as error:
        raise InputError(f"{path}: no study ({error.orig}). Give --study a new name, such as tune.db") from error
    earlier = len(study.trials)
    # a seed used twice would draw again the trials that are there already
    study.sampler = optuna.samplers.TPESampler(seed=seed + earlier)
    before = study.user_attrs.get("searched")
    if before is None:
        study.set_user_attr("searched", searched)
    elif before != searched:
        (what, *_) = [name for name in searched if before[name] != searched[name]]
        raise InputError(
            f"{path}: a study of {what} {before[what]}, but {searched[what]} is given, and their trials don't compare. "
            "Give the same, or --study a new name"
        )
    if earlier:
        print(f"{earlier} trials are in {path} already: going on", flush=True)
    return study


def read_space(path: Path) -> dict[str, dict[str, Any]]:
    """The keys to search over, each with its values.

    Raises:
        InputError: if the file can't be read, or a key has no values in a form that is known.
    """
    try:
        space = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: can't be read ({error})") from error
    if not isinstance(space, dict) or not space:
        raise InputError(f"{path}: holds no keys. Write one a line, such as data.max_history: {{choice: [50, 100]}}")
    for key, values in space.items():
        fits = isinstance(values, dict) and set(values) in FORMS and bool(values.get("choice", True))
        if not fits or ("low" in values and not _is_range(values)):
            raise InputError(
                f"{path}, {key}: {values} is neither {{choice: [a, b]}} nor {{low: a, high: b}} with a below b, both "
                "above 0 where log is true"
            )
    return space


def _is_range(values: Mapping[str, Any]) -> bool:
    low, high = values["low"], values["high"]
    numbers = all(isinstance(bound, (int, float)) for bound in (low, high))
    return numbers and low < high and (low > 0 or not values.get("log"))


def run_trial(trial: "optuna.Trial", space: Mapping[str, Mapping[str, Any]], flags: list[str]) -> float:
    """Fit once; the best validation metric.

    Raises:
        InputError: if `fit` ended with an error, which fails the trial alone.
    """
    chosen = {}
    for key, values in space.items():
        if "choice" in values:
            chosen[key] = trial.suggest_categorical(key, values["choice"])
        elif values.get("int"):
            chosen[key] = trial.suggest_int(key, values["low"], values["high"], log=values.get("log", False))
        else:
            chosen[key] = trial.suggest_float(key, values["low"], values["high"], log=values.get("log", False))
    with tempfile.TemporaryDirectory() as folder:
        quiet = ["--trainer.logger", "false", "--trainer.enable_progress_bar", "false", "--checkpoint.dirpath", folder,
                 "--last.minutes", "null"]  # fmt: skip
        told = _program(["fit", *flags, *as_flags(chosen), *quiet])
        if told.returncode:
            raise InputError((told.stderr.strip().splitlines() or ["fit failed"])[-1])
        return best_score(Path(folder) / "best.ckpt")


def best_score(checkpoint: Path) -> float:
    """The metric that a checkpoint was kept for."""
    import torch

    callbacks = torch.load(checkpoint, map_location="cpu", weights_only=True)["callbacks"]
    (state,) = (state for name, state in callbacks.items() if name.startswith("ModelCheckpoint"))
    return float(state["best_model_score"])


def report(study: "optuna.Study", path: Path) -> None:
    """Print the best trials and what mattered, and write the best one's settings as a config.

    Raises:
        InputError: if no trial came to an end.
    """
    import optuna

    done = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    if not done:
        raise InputError("no trial came to an end: the lines above tell why")
    higher = study.direction == optuna.study.StudyDirection.MAXIMIZE
    for trial in sorted(done, key=lambda trial: trial.value or 0.0, reverse=higher)[:5]:
        print(f"{trial.value:.4f}  {_as_text(trial.params)}")
    with written_whole(path) as file:
        file.write(f"# {study.best_value:.4f} on validation, the best of {len(done)} trials\n".encode())
        file.write(yaml.safe_dump(as_config(study.best_params)).encode())
    if len(done) >= 8:
        importance = optuna.importance.get_param_importances(study)
        print("importance: " + ", ".join(f"{key} {share:.2f}" for key, share in importance.items()))
    print(f"the best settings are in {path}: give it after the config, by --config {path}")


def _program(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """A run of the program in a process of its own, whose memory is free again afterwards."""
    return subprocess.run([sys.executable, "-m", "recall_lightning", *arguments], capture_output=True, text=True)


def _as_text(settings: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in settings.items()
    )


def _tell(study: "optuna.Study", trial: "optuna.trial.FrozenTrial") -> None:
    value = "failed" if trial.value is None else f"{trial.value:.4f}"
    print(f"trial {trial.number}: {value}  {_as_text(trial.params)}", flush=True)


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("stopped; the same command goes on\n")
        sys.exit(130)
