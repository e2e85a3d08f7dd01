"""Settings by the data's own validation: one change after the other, within a time budget."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from recall_lightning.data.ragged import Ints

Settings = Mapping[str, Any]

HISTORIES = (20, 50, 100)  # items; the cost of a step grows with them
MOST_CANDIDATES = 50_000  # beyond, a softmax over the whole catalogue isn't even timed
SLOWEST = 1 / 20  # of the time: a slower epoch leaves too little for a search, and for the six that training wants

LONGEST, ENOUGH = 12, 6  # epochs of a trial
FEWEST = 4  # trials that are worth a search

TRANSFORMER = "recall_lightning.TransformerTower"


@dataclass(frozen=True)
class Change:
    """Settings to try in the place of the present ones.

    Attributes:
        why: what it may be good for.
        settings: keys of a config, with values.
    """

    why: str
    settings: Settings


# what mattered most on Office, MovieLens and Book-Crossing comes first, so that a short budget is spent well
DROPPED = {"model.user_tower.init_args.dropout": 0.4, "model.item_tower.init_args.residual_dropout": 0.5}
CHANGES = (
    Change("much data: faster steps", {"model.optimizer.tower_lr": 0.003}),
    Change("order says little: a weighted mean", {"model.user_tower": "recall_lightning.AttentionTower"}),
    Change("who took this took that says little", {"model.neighbours": False}),
    Change("little is known of an item or a user: more dropout of both", {"model.user_tower": TRANSFORMER, **DROPPED}),
    Change("much is known of an item: less dropout of residuals", {"model.item_tower.init_args.residual_dropout": 0.1}),
    Change("what follows what says little", {"model.transitions": False}),
    Change("scores less sharp", {"model.loss.init_args.temperature": 0.2}),
    Change("scores sharper", {"model.loss.init_args.temperature": 0.05}),
    Change("popularity says little", {"model.prior": False}),
    Change("short histories: one layer", {"model.user_tower": TRANSFORMER, "model.user_tower.init_args.layers": 1}),
    Change("more to tell apart: wider", {"model.item_tower.init_args.dim": 256}),
    Change("less to tell apart: narrower", {"model.item_tower.init_args.dim": 64}),
    Change("texts say all: no residual", {"model.item_tower.init_args.residual": False}),
    Change("little data: slower steps", {"model.optimizer.tower_lr": 0.0005}),
)  # fmt: skip

SAMPLED: Settings = {"model.candidates": "batch", "data.n_negatives": 2048, "data.sort_by_length": False}
# these score the whole catalogue before a sample of it is taken
UNCOUNTED: Settings = {"model.transitions": False, "model.neighbours": False}


def by_size(lengths: Ints, n_items: int) -> list[Change]:
    """What follows from the data's size alone, without a trial.

    Args:
        lengths: `(users,)` int64 training interactions of each.
        n_items: of the catalogue.
    """
    long = int(np.quantile(lengths[lengths > 0], 0.9)) if (lengths > 0).any() else 1
    history = next((size for size in HISTORIES if size >= long), HISTORIES[-1])
    changes = [Change(f"nine in ten histories have at most {long} items", {"data.max_history": history})]
    if n_items > MOST_CANDIDATES:
        why = f"{n_items:,} items: a softmax over all of them would take most of a step"
        changes.append(Change(why, {**SAMPLED, **UNCOUNTED}))
    return changes


def length_of_a_trial(seconds: float, epoch: float, n_trials: int) -> tuple[int, float]:
    """How long to train in each of some trials.

    Enough for their order to tell, and where there isn't time for that, fewer trials rather than shorter ones.

    Args:
        seconds: for all trials together.
        epoch: seconds that one takes.
        n_trials: how many there are.

    Returns:
        Epochs, and the share of an epoch's batches that each of them has: less than 1 where there isn't time for one.
    """
    fewest = min(FEWEST, n_trials)
    if ENOUGH * epoch * fewest <= seconds:
        return int(max(ENOUGH, min(LONGEST, seconds / n_trials / epoch))), 1.0
    epochs = seconds / fewest / epoch
    return max(1, int(epochs)), min(1.0, epochs)


def climb(
    start: Settings,
    changes: tuple[Change, ...],
    trial: Callable[[Settings], float],
    more_time: Callable[[], bool],
    tell: Callable[[Change, float, bool], None],
) -> tuple[dict[str, Any], float]:
    """Try changes in turn, and keep each that the validation gains by: a search by coordinates.

    Args:
        start: settings to begin with.
        changes: in the order to try them.
        trial: trains a while with settings; the validation metric, higher is better.
        more_time: whether there is time for another trial; the first is always made.
        tell: is told of each change, what it came to, and whether it was kept.

    Returns:
        The best settings, and what they came to.
    """
    chosen, best = dict(start), trial(start)
    for change in changes:
        if not more_time():
            break
        tried = merged(chosen, change.settings)
        value = trial(tried)
        kept = value > best
        tell(change, value, kept)
        if kept:
            chosen, best = tried, value
    return chosen, best


def merged(settings: Settings, more: Settings) -> dict[str, Any]:
    """Settings with others in their place; those of a class's arguments go with the class that had them."""
    gone = tuple(f"{key}." for key, value in more.items() if settings.get(key, value) != value)
    return {key: value for key, value in settings.items() if not key.startswith(gone)} | dict(more)
