"""The experiment's frame: what is chosen by validation, what is fitted how often, what stands where."""

from dataclasses import replace
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest
import torch

from recall_lightning.baselines.base import Contender, UnavailableError
from recall_lightning.baselines.tuning import EARLY, Search, early_grid
from recall_lightning.coldstart import contenders, experiment, fused
from recall_lightning.coldstart.experiment import RATES, Settings
from recall_lightning.coldstart.protocols import protocols
from recall_lightning.data.interactions import Interactions
from recall_lightning.data.splits import Splits

N_ITEMS = 8
SETTINGS = Settings("test", steps=2, k=1, cache=None)


class Liking(Contender):
    """Scores one item above all others."""

    name = "liking"
    fit_grid = MappingProxyType({"liked": (0, 1, 2, 3)})
    score_grid = MappingProxyType({"scale": (1, 2)})
    counts_interactions = False
    fits: list[int]

    def fit(self, train, data):
        self.fits.append(self.settings["liked"])
        self.scores = torch.zeros(N_ITEMS)
        self.scores[self.settings["liked"]] = 1

    def score(self, batch):
        return self.settings["scale"] * self.scores.repeat(len(batch.users), 1)


class AlsoLiking(Liking):
    name = "also liking"


class Unable(Contender):
    """Takes part in the first query alone."""

    name = "unable"
    counts_interactions = False
    asked = 0

    def fit(self, train, data):
        Unable.asked += 1
        if Unable.asked > 1:
            raise UnavailableError("needs magic")

    def score(self, batch):
        return torch.zeros(len(batch.users), N_ITEMS)


class Stepping:
    """A learner whose targets rank at the size of its step on validation, and first on everything else."""

    def __init__(self, validation_users):
        self.validation_users, self.rate, self.asked = set(validation_users), None, []

    def set_rate(self, rate):
        self.rate = rate

    def ranks(self, cases, steps, *, only_last=False):
        self.asked.append((set(cases.users.tolist()), self.rate))
        of_validation = set(cases.users.tolist()) <= self.validation_users
        place = abs(RATES.index(self.rate) - 4) if of_validation and self.rate else 0
        ranks = [torch.full((len(cases), 1), place) for _ in range(steps + 1)]
        return (ranks[-1:] if only_last else ranks), 0


@pytest.fixture
def data(tmp_path):
    """Twelve users, each of whom took items 0, 1, 2, ... in this order."""
    users = [f"u{n}" for n in range(12)]
    interactions = Interactions(users, np.tile(np.arange(7), 12), None, np.arange(13) * 7)
    splits = Splits(name="cold_users", share=0.3, n_queries=1, window_from=4)
    catalogue = SimpleNamespace(ids=[str(n) for n in range(N_ITEMS)], texts=[""] * N_ITEMS)
    catalogue = type("Catalogue", (SimpleNamespace,), {"__len__": lambda self: N_ITEMS})(**vars(catalogue))
    return SimpleNamespace(
        splits=splits, interactions=interactions, catalogue=catalogue, seed=0, eval_batch_size=2, tokens=None,
        split=splits.split(interactions, catalogue.ids, 0), max_text_tokens=64, cache_dir=tmp_path,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_fitted_yet(monkeypatch):
    monkeypatch.setattr(Liking, "fits", [], raising=False)
    monkeypatch.setattr(Unable, "asked", 0)


def test_each_number_of_interactions_gets_its_own_best_of_the_settings_of_one_search(data):
    group = protocols(data, ["next"], [1, 2, 3], "test")  # whose targets are the items 1, 2 and 3
    cache = contenders.cache_of(data, group, None, k=1, part="test")
    result = contenders.run(Liking(), data, group, cache, k=1)
    assert {k: settings["liked"] for k, settings in result.settings.items()} == {"1": 1, "2": 2, "3": 3}
    assert all((rankings.ranks == 0).all() for rankings in result.rankings.values())


def test_protocols_that_share_a_fit_are_asked_one_after_the_other(data):
    group = protocols(data, ["next"], [1, 2], "test")
    three = [group[0], group[1], group[0]]  # the first and the last ask for the same item, which the search ends with
    search = Search(Liking(), data, [(protocol.splits, protocol.validation) for protocol in three], k=1)
    search.best()
    n_searched = len(Liking.fits)
    contenders.run(Liking(), data, three, contenders.cache_of(data, three, None, k=1, part="test"), k=1)
    assert len(Liking.fits) == 2 * n_searched + 1


def test_what_was_kept_is_not_fitted_again_unless_asked_otherwise(data, tmp_path):
    group = protocols(data, ["next"], [1, 2], "test")

    def run(group, k=1):
        cache = contenders.cache_of(data, group, tmp_path / "kept", k=k, part="test")
        return contenders.run(Liking(), data, group, cache, k=k)

    first = run(group)
    n_fits = len(Liking.fits)
    again = run(group)
    assert len(Liking.fits) == n_fits
    assert again.settings == first.settings
    assert all(torch.equal(again.rankings[k].ranks, first.rankings[k].ranks) for k in ("1", "2"))
    run(group, k=2)
    assert len(Liking.fits) > n_fits
    n_fits = len(Liking.fits)
    run(protocols(data, ["next"], [1, 3], "test"))
    assert len(Liking.fits) > n_fits


def test_results_are_kept_by_the_cases_themselves(data):
    (protocol,) = protocols(data, ["next"], [1], "test")
    (other,) = protocols(data, ["next"], [2], "test")
    same_splits = [protocol, replace(other, splits=protocol.splits)]
    one, two = (contenders.cache_of(data, [asked], None, k=1, part="test") for asked in same_splits)
    assert one.part == two.part
    assert one.data != two.data


def test_early_histories_are_tried_from_the_shortest_to_four_times_the_longest_that_is_told():
    next_ones = [Splits(name="cold_users", k=k, n_queries=5) for k in (1, 2, 10)]
    assert early_grid(next_ones) == {EARLY: (None, 6, 15, 30, 60)}
    fixed = [Splits(name="cold_users", k=k, query="fixed", n_queries=5, window_from=20) for k in (1, 10)]
    assert early_grid(fixed) == {EARLY: (None, 25, 50, 100)}


def test_the_control_takes_its_step_size_from_validation_alone(data):
    asked = protocols(data, ["next"], [1, 2], "test")
    control = Stepping(data.split.validation.users.tolist())
    outcome = experiment.run(data, asked, [], Stepping([]), control, SETTINGS)
    assert outcome.rate("next") == RATES[4]  # where the validation's targets come first
    assert outcome.rates["next"] == {rate: float(rate == RATES[4]) for rate in RATES}
    validation, test = (set(part.users.tolist()) for part in (data.split.validation, data.split.test))
    assert [users for users, _ in control.asked[:-2]] == [validation] * 2 * len(RATES)
    assert control.asked[-2:] == [(test, RATES[4])] * 2


def test_a_step_size_that_breaks_the_scores_is_not_among_the_choices(data):
    class Breaking(Stepping):
        def ranks(self, cases, steps, *, only_last=False):
            if self.rate > 100:
                raise ValueError("scores contain NaN")
            return super().ranks(cases, steps, only_last=only_last)

    control = Breaking(data.split.validation.users.tolist())
    outcome = experiment.run(data, protocols(data, ["next"], [1], "test"), [], Stepping([]), control, SETTINGS)
    assert list(outcome.rates["next"]) == [rate for rate in RATES if rate <= 100]


def test_baselines_stand_first_then_the_base_model_the_meta_trained_one_last(data):
    asked = protocols(data, ["next", "fixed"], [1], "test")
    control = Stepping(data.split.validation.users.tolist())
    outcome = experiment.run(data, asked, [Liking(), AlsoLiking()], Stepping([]), control, SETTINGS)
    expected = [("liking", None), ("also liking", None), ("base", None)]
    expected += [("base, fine-tuned", step) for step in (0, 1, 2)]
    expected += [("MAML, unadapted", None), *(("MAML, adapted", step) for step in (0, 1, 2))]
    for each in outcome.asked:
        assert [(answer.model, answer.step) for answer in each.answers] == expected


@pytest.mark.parametrize("asked_before", [0, 1])  # so that it drops out at the second query, or at the first
def test_who_cannot_take_part_in_all_of_it_is_left_out_of_all_and_asked_no_more(data, monkeypatch, asked_before):
    monkeypatch.setattr(Unable, "asked", asked_before)
    asked = protocols(data, ["next", "fixed"], [1], "test")
    outcome = experiment.run(data, asked, [Unable()], Stepping([]), None, SETTINGS)
    assert outcome.left_out == {"unable": "needs magic"}
    assert {answer.model for each in outcome.asked for answer in each.answers} == {"MAML, unadapted", "MAML, adapted"}
    assert Unable.asked == 2


# -- fused -------------------------------------------------------------------------------------------------------------


class Sure(Contender):
    """A model that scores the third item above all others."""

    name = "sure"

    def fit(self, train, data):
        self.scores = torch.zeros(N_ITEMS)
        self.scores[3] = 1

    def score(self, batch):
        return self.scores.repeat(len(batch.users), 1)


def fused_with(channels, data, group):
    cache = contenders.cache_of(data, group, None, k=1, part="test")
    return fused.run([Sure(), Sure()], channels, data, group, cache, k=1)


def chosen_with(channels, data, group):
    return fused_with(channels, data, group)[0]


def test_what_is_fused_is_chosen_on_validation_and_not_on_what_is_asked(data):
    one, three = protocols(data, ["next"], [1, 3], "test")
    # validation's users take item 1, which the baseline likes then; those who are asked take item 3, as the model says
    ((chosen,), (again,)) = chosen_with(
        [Liking()], data, [replace(one, asked=replace(one.asked, targets=three.asked.targets))]
    )
    assert chosen.settings["with"] == "liking"
    assert chosen.settings["weight"] > 0
    assert chosen.recall == again.recall == 1
    assert (chosen.rankings.ranks > 0).all()


def test_each_number_of_interactions_gets_its_own_baseline_and_weight(data):
    group = protocols(data, ["next"], [1, 3], "test")
    (one, three), _ = chosen_with([Liking()], data, group)
    assert one.settings["weight"] > 0
    assert three.settings["weight"] == 0  # the model is right already
    assert all((chosen.rankings.ranks == 0).all() for chosen in (one, three))


def test_baselines_that_can_take_part_are_fused_without_those_that_cannot(data):
    group = protocols(data, ["next"], [1], "test")
    Unable.asked = 1
    ((chosen,), _), left_out = fused_with([Unable(), Liking()], data, group)
    assert left_out == {"unable": "needs magic"}
    assert chosen.settings["with"] == "liking"
    with pytest.raises(UnavailableError, match="unable needs magic"):
        fused_with([Unable()], data, group)


def test_a_baseline_is_fitted_once_for_each_setting_and_all_models(data):
    group = protocols(data, ["next"], [1, 2, 3], "test")
    three = [group[0], group[1], group[0]]
    contenders.run(Liking(), data, three, contenders.cache_of(data, three, None, k=1, part="test"), k=1)
    n_tuned = len(Liking.fits)
    Liking.fits.clear()
    fused_with([Liking()], data, three)
    assert len(Liking.fits) == n_tuned + 2
