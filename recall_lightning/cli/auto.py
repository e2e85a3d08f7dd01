"""`fit --auto.minutes N`: settings by the data's own validation, then the training itself, within N minutes."""

import logging
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from recall_lightning.auto import (
    CHANGES,
    FEWEST,
    LONGEST,
    SAMPLED,
    SLOWEST,
    Change,
    Settings,
    by_size,
    climb,
    length_of_a_trial,
)
from recall_lightning.cli.flags import as_config, as_flags
from recall_lightning.cli.short_runs import ShortRuns
from recall_lightning.errors import InputError
from recall_lightning.modules.recall import RecallModule
from recall_lightning.whole import written_whole

if TYPE_CHECKING:
    from recall_lightning.cli.trainer import RecallCLI
    from recall_lightning.data.datamodule import RecallDataModule

SEARCHING = 0.6  # of the time
TRAINING = 0.6  # of what is left then; the rest is for what to fuse the model with
ADVICE = "auto.yaml"  # beside the checkpoint
CHANNELS = ("ease", "item-knn", "user-knn", "tf-idf", "markov")  # what the model doesn't know by heart

log = logging.getLogger(__name__)


class Automatic:
    """Searches settings of `fit` when it is made; later, what to fuse the trained model with.

    Args:
        given: the command `fit` and its flags.
        minutes: for search, training and the choice of what to fuse.
        parse: makes a program of flags, without running it.
        program: of the flags as given.

    Attributes:
        flags: to be added to those given: what was chosen.

    Raises:
        InputError: if there is nothing to search for here, or data or a setting can't be used.
    """

    def __init__(
        self, given: list[str], minutes: float, parse: Callable[[list[str]], "RecallCLI"], program: "RecallCLI"
    ) -> None:
        self.given, self.parse = given, parse
        self.named = {word.partition("=")[0] for word in given if word.startswith("--")}
        self._check(minutes, program)
        self.began, self.seconds = time.monotonic(), 60 * minutes
        self.epoch_seconds, self.length = 0.0, (0, 1.0)  # of a whole epoch; and epochs of a trial, as far as they go
        self.lines: list[str] = []
        self.chosen = self._search(program, int(program.trainer.max_epochs or LONGEST))
        self.flags = as_flags({**self.chosen, "auto.minutes": None})

    def _check(self, minutes: float, program: "RecallCLI") -> None:
        if not 0 < minutes < math.inf:
            raise InputError(f"auto.minutes is {minutes}: give a number above 0, or null for the settings as they are")
        if type(program.model) is not RecallModule:
            raise InputError("auto.minutes: searches settings of `method: recall` alone. Give null with any other")
        if program.config_init[str(program.subcommand)]["checkpoint"].mode != "max":
            raise InputError(
                "auto.minutes: looks for the highest metric, but checkpoint.mode is min. Monitor recall or nDCG, or "
                "choose settings by scripts/tune.py"
            )
        if "--ckpt_path" in self.named:
            raise InputError("auto.minutes: a run goes on with the settings it began with: give its own config.yaml")
        if program.trainer.world_size > 1:
            raise InputError(
                "auto.minutes: a search runs in one process, but the Trainer has several. Search with "
                "--trainer.devices 1, then train with the auto.yaml that it leaves"
            )

    @property
    def left(self) -> float:
        """Seconds."""
        return self.seconds - (time.monotonic() - self.began)

    def _search(self, program: "RecallCLI", most_epochs: int) -> dict[str, Any]:
        """The settings of the best short run, and how many epochs there is time for."""
        data, config = program.datamodule, program.config[str(program.subcommand)]
        data.setup()
        self.runs = ShortRuns(self.given, self.parse, len(data.sequences))
        start: dict[str, Any] = {}
        for change in by_size(data.split.train.lengths, len(data.catalogue)):
            if self._open(change):
                start |= change.settings
                self._say(f"{_as_text(change.settings)}: {change.why}")
        self._sample_where_slow(start, config)
        changes = tuple(
            change for change in CHANGES
            if self._open(change)
            and any(start.get(key, config.get(key)) != value for key, value in change.settings.items())
        )  # fmt: skip
        self._say(f"{len(changes)} changes to try in {SEARCHING * self.seconds / 60:.0f} minutes")
        self.n_trials = len(changes) + 1
        chosen, best = climb(start, changes, self._trial, self._more_time, self._tell)
        self._say(f"chosen, at {best:.4f} after a short run: {_as_text(chosen) or 'the settings as they were'}")
        time_for = max(TRAINING * self.left, 0.0) / self.chosen_epoch
        epochs = max(1, int(time_for))
        if not 0 < most_epochs <= epochs:
            self._say(
                f"trainer.max_epochs {epochs}: {most_epochs if most_epochs > 0 else 'no limit'} would take too long"
            )
            chosen["trainer.max_epochs"] = epochs
        share = round(max(time_for, 1.01 / self.runs.n_batches), 4)
        if share < 1:
            chosen["trainer.limit_train_batches"] = share
            self._say(f"trainer.limit_train_batches {share}: there isn't time for a whole epoch")
        return chosen

    def _sample_where_slow(self, start: dict[str, Any], config: Any) -> None:
        """Judge an epoch by a few steps; where the whole catalogue takes too long, have a sample if that is faster."""
        self.epoch_seconds = whole = self.runs.judged(start)
        searched = start.get("model.candidates", config["model"].candidates) == "catalogue"
        if not searched or whole <= SLOWEST * self.seconds or not self._open(Change("", SAMPLED)):
            return
        sampled = self.runs.judged({**start, **SAMPLED})
        if sampled < whole:
            start |= SAMPLED
            self.epoch_seconds = sampled
            why = f"an epoch takes {sampled:.0f} s, over the whole catalogue it would take {whole:.0f}"
            self._say(f"{_as_text(SAMPLED)}: {why}")

    def _open(self, change: Change) -> bool:
        """Whether no flag has said already what a change would, of a key or of all that is under one."""
        named = tuple(name.removeprefix("--").replace(".init_args", "") + "." for name in self.named)
        return not any(f"{key.replace('.init_args', '')}.".startswith(named) for key in change.settings)

    def _trial(self, settings: Settings) -> float:
        """The best validation metric of a short run."""
        first = not self.length[0]
        if first:
            most = SEARCHING * self.left / FEWEST / 2  # seconds, for finding out how long a trial may be
            share = min(1.0, most / max(self.epoch_seconds, 1e-9))
            _, self.epoch_seconds = self.runs.trained(settings, 1, share)
            self.length = length_of_a_trial(SEARCHING * self.left, self.epoch_seconds, self.n_trials)
        try:
            value, self.epoch_seconds = self.runs.trained(settings, *self.length)
        except ValueError as error:  # a change doesn't fit what else the config says, or diverges
            if first:
                raise
            self._say(str(error))
            return -math.inf
        if first:
            self.chosen_epoch = self.epoch_seconds
            epochs, share = self.length
            part = "" if share == 1 else f", {share:.0%} of each"
            self._say(f"before any: {value:.4f}, in {epochs} epochs of {self.epoch_seconds:.0f} s{part}")
        return value

    def _more_time(self) -> bool:
        return self.left > (1 - SEARCHING) * self.seconds

    def _tell(self, change: Change, value: float, kept: bool) -> None:
        if kept:
            self.chosen_epoch = self.epoch_seconds
        self._say(f"{_as_text(change.settings)} ({change.why}): {value:.4f}{', kept' if kept else ''}")

    def _say(self, line: str) -> None:
        self.lines.append(line)
        log.info("auto: %s", line)

    def finish(self, checkpoint: Path, data: "RecallDataModule") -> None:
        """Keep what was chosen beside the checkpoint, and tell which baseline the model gains by.

        Args:
            checkpoint: the trained model.
            data: that it was trained on.
        """
        channel = self._fusion(checkpoint, data)
        path = checkpoint.with_name(ADVICE)
        with written_whole(path) as file:
            file.write("".join(f"# {line}\n" for line in self.lines).encode())
            settings = {**self.chosen, "auto.minutes": None, "auto.fuse": channel}
            file.write(yaml.safe_dump(as_config(settings)).encode())
        log.info("auto: kept in %s, to be given after the config", os.path.relpath(path))

    def _fusion(self, checkpoint: Path, data: "RecallDataModule") -> str | None:
        """The baseline that the model gains most by, if it does by any."""
        from recall_lightning.baselines.base import UnavailableError
        from recall_lightning.baselines.fused import Fused
        from recall_lightning.baselines.registry import chosen
        from recall_lightning.baselines.trained import Trained
        from recall_lightning.baselines.tuning import tune

        best: tuple[float, str] = (0.0, "")
        model = Trained(str(checkpoint))
        for name, channel in chosen(data, CHANNELS).items():
            if self.left < 0:
                self._say(f"no time left to fuse with {name}")
                continue
            fused = Fused(model, channel)
            try:
                recall = tune(fused, data).recall
            except UnavailableError as why:
                self._say(f"fused with {name}: {why}")
                continue
            way, weight = fused.settings["way and weight"]
            self._say(f"fused with {name}: {recall:.4f}, " + (f"by {way}s, weight {weight}" if weight else "no gain"))
            if weight and recall > best[0]:
                best = (recall, name)
        if not best[1]:
            return None
        self._say(f"give `recommend` --fuse {best[1]}; `compare` does so by itself")
        return best[1]


def advised(checkpoint: Path) -> list[str]:
    """The baseline to fuse a checkpoint with, as a search that led to it found; none without one.

    Raises:
        InputError: if the file beside the checkpoint can't be read.
    """
    path = checkpoint.with_name(ADVICE)
    if not path.is_file():
        return []
    try:
        channel = yaml.safe_load(path.read_text(encoding="utf-8"))["auto"].get("fuse")
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not as `fit --auto.minutes` left it ({type(error).__name__}). Delete it, or give --fuse"
        ) from error
    return [channel] if channel else []


def minutes_of(program: "RecallCLI") -> float | None:
    """What `auto.minutes` says, None where it is not to search."""
    minutes: float | None = program.config[str(program.subcommand)]["auto"]["minutes"]
    return minutes


def _as_text(settings: Settings) -> str:
    shown = []
    for key, value in settings.items():
        name = key.removeprefix("model.").removeprefix("data.").replace(".init_args", "")
        shown.append(f"{name} {value.rpartition('.')[2] if isinstance(value, str) else value}")
    return ", ".join(shown)
