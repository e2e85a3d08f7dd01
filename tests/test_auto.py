"""auto: changes are tried in turn, and kept where the validation gains."""

import numpy as np
import pytest

from recall_lightning.auto import CHANGES, MOST_CANDIDATES, Change, by_size, climb, length_of_a_trial, merged

WIDER, DEEPER, WORSE = (Change("", {name: value}) for name, value in [("dim", 256), ("layers", 3), ("dim", 2)])
WORTH = {"dim": {256: 0.2, 2: -0.2}, "layers": {3: 0.1}}


def trial(settings):
    return 0.5 + sum(WORTH.get(key, {}).get(value, 0.0) for key, value in settings.items())


def search(changes, *, trials=99, start=None):
    seen, told = [], []

    def counted(settings):
        seen.append(dict(settings))
        return trial(settings)

    found = climb(
        start or {},
        changes,
        counted,
        lambda: len(seen) < trials,
        lambda change, value, kept: told.append((value, kept)),
    )
    return found, seen, told


def test_what_the_validation_gains_by_is_kept_and_what_comes_later_is_tried_on_top_of_it():
    (chosen, best), seen, told = search((WIDER, WORSE, DEEPER))
    assert chosen == {"dim": 256, "layers": 3}
    assert best == pytest.approx(0.8)
    assert seen == [{}, {"dim": 256}, {"dim": 2}, {"dim": 256, "layers": 3}]
    assert told == [(pytest.approx(0.7), True), (pytest.approx(0.3), False), (pytest.approx(0.8), True)]


def test_a_change_that_gains_nothing_is_not_kept():
    assert search((Change("", {"colour": "red"}),))[0] == ({}, 0.5)


@pytest.mark.parametrize("trials", [1, 2])
def test_when_the_time_is_up_no_other_trial_begins(trials):
    (chosen, _), seen, _ = search((WIDER, DEEPER), trials=trials, start={"prior": True})
    assert len(seen) == trials
    assert chosen == {"prior": True} | ({"dim": 256} if trials == 2 else {})


def test_a_history_is_as_long_as_nine_in_ten_users_need_up_to_a_hundred():
    for longest, history in [(6, 20), (20, 20), (21, 50), (700, 100)]:
        lengths = np.array([0] * 50 + [2] * 8 + [longest] * 2)
        (change,) = by_size(lengths, n_items=10)
        assert change.settings == {"data.max_history": history}


def test_too_large_a_catalogue_is_sampled():
    changes = by_size(np.array([5, 6]), n_items=MOST_CANDIDATES + 1)
    assert changes[-1].settings["model.candidates"] == "batch"
    assert changes[-1].settings["data.n_negatives"] > 0


def test_a_change_of_class_drops_the_arguments_of_the_class_before():
    before = {"model.user_tower": "A", "model.user_tower.init_args.layers": 1, "model.prior": True}
    assert merged(before, {"model.user_tower": "B"}) == {"model.user_tower": "B", "model.prior": True}
    assert merged(before, {"model.user_tower": "A", "model.user_tower.init_args.dropout": 0.1}) == {
        **before, "model.user_tower.init_args.dropout": 0.1
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "epoch", "epochs", "share"),
    [
        (10_000, 1, 12, 1), (1_000, 10, 10, 1), (600, 10, 6, 1), (300, 10, 6, 1), (200, 10, 5, 1), (300, 60, 1, 1),
        (120, 60, 1, 0.5), (40, 1_000, 1, 0.01),
    ],
)  # fmt: skip
def test_with_less_time_trials_are_shorter_then_fewer_then_shorter_still(seconds, epoch, epochs, share):
    assert length_of_a_trial(seconds, epoch, n_trials=10) == (epochs, share)


def test_every_change_says_why():
    assert all(change.why for change in CHANGES)
    assert len({str(dict(change.settings)) for change in CHANGES}) == len(CHANGES)
