"""A comparison's frame: tuning on validation, results kept by content, who can't take part."""

import mmap
from types import MappingProxyType

import pytest
import torch

from recall_lightning import RecallDataModule, Tabular
from recall_lightning.baselines.base import Contender, UnavailableError, last_of
from recall_lightning.baselines.cache import Cache, data_fingerprint
from recall_lightning.baselines.evaluate import rank_cases, recall_of
from recall_lightning.baselines.measured import Measured
from recall_lightning.baselines.run import cases_of, run
from recall_lightning.baselines.tuning import EARLY, first_interactions, tune
from recall_lightning.data.splits import Splits


@pytest.fixture
def make(typed, tiny_encoder, tmp_path):
    def data(**options):
        reader = Tabular(str(typed / "interactions.csv"), str(typed / "items.csv"))
        options = {"eval_batch_size": 2, "cache_dir": str(tmp_path / "cache")} | options
        made = RecallDataModule(reader, "{title}. {genres}", str(tiny_encoder), **options)
        made.setup()
        return made

    return data


class Fixed(Contender):
    """Scores items by their row, plus a chosen number for the first."""

    name = "fixed"
    fit_grid = MappingProxyType({"scale": (1.0, 2.0)})
    score_grid = MappingProxyType({"bonus": (0, 10)})
    fits = 0

    def fit(self, train, data):
        type(self).fits += 1
        self.rows = torch.arange(len(data.catalogue), dtype=torch.float32) * self.settings["scale"]
        self.trained_on = len(train)

    def score(self, batch):
        scores = self.rows.repeat(len(batch.users), 1)
        scores[:, 0] += self.settings["bonus"]
        return scores


@pytest.fixture(autouse=True)
def no_fits_yet(monkeypatch):
    monkeypatch.setattr(Fixed, "fits", 0)


@pytest.mark.parametrize("at_once", [2**24, 5])  # all cases of a batch together, and one by one
def test_every_item_but_those_already_met_is_ranked(make, monkeypatch, at_once):
    monkeypatch.setattr("recall_lightning.baselines.evaluate.SCORES_AT_ONCE", at_once)
    data = make()
    fixed = Fixed()
    fixed.fit(data.split.train, data)
    found = rank_cases(fixed, data.split.test, data)
    # the best is 007, then fargo, brazil, alien, heat
    # left to ann: fargo* 007; to bob: heat fargo 007*; to cy: brazil alien*
    users = [data.interactions.user_ids[u] for u in data.split.test.users]
    assert dict(zip(users, found.ranks[:, 0].tolist(), strict=True)) == {"ann": 1, "bob": 0, "cy": 1}
    ids = [[data.catalogue.ids[i] if i >= 0 else None for i in row] for row in found.lists.tolist()]
    assert dict(zip(users, ids, strict=True))["ann"] == ["007", "fargo", None, None, None]
    assert recall_of(found, 1) == pytest.approx(1 / 3)


def test_a_contender_that_scores_all_items_alike_recalls_nothing_it_could_miss(make):
    data = make()
    fixed = Fixed()
    fixed.score = lambda batch: torch.zeros(len(batch.users), len(data.catalogue))
    assert recall_of(rank_cases(fixed, data.split.test, data), 1) == 0.0


def test_settings_are_chosen_on_validation_and_fitted_no_more_often_than_they_change(make):
    data = make()
    fixed = Fixed()
    tuned = tune(fixed, data, k=1)
    # validation asks ann for brazil (left: brazil fargo 007), bob for brazil (heat brazil fargo 007), cy for fargo
    every = [recall_of(rank_cases(made, data.split.validation, data), 1) for made in _all(data)]
    assert tuned.recall == max(every)
    assert Fixed.fits <= 3 + 4
    assert tuned.fit.seconds >= 0


def test_what_tuning_started_from_is_told_beside_what_it_came_to(make):
    class Favouring(Fixed):
        score_grid = MappingProxyType({"first": (0, 2)})  # heat, brazil

        def score(self, batch):
            scores = self.rows.repeat(len(batch.users), 1)
            scores[:, self.settings["first"]] = 10
            return scores

    tuned = tune(Favouring(), make(), k=1)  # of the three targets only cy's is no brazil, but fargo, and heat is known
    assert (tuned.before, tuned.recall) == pytest.approx((1 / 3, 2 / 3))


def test_what_learning_adds_to_the_settings_is_kept(make):
    class Stopped(Fixed):
        fit_grid = MappingProxyType({})
        score_grid = MappingProxyType({})

        def fit(self, train, data):
            self.rows = torch.arange(len(data.catalogue))
            self.settings["epochs"] = 7

        def score(self, batch):
            return self.rows.float().repeat(len(batch.users), 1)

    stopped = Stopped()
    tune(stopped, make())
    assert stopped.settings == {"epochs": 7}


def _all(data):
    for scale in (1.0, 2.0):
        for bonus in (0, 10):
            made = Fixed(scale=scale, bonus=bonus)
            made.fit(data.split.train, data)
            yield made


def test_an_unknown_setting_is_told():
    with pytest.raises(ValueError, match="fixed has no setting 'bogus': it has scale, bonus"):
        Fixed(bogus=1)


def test_for_cold_users_early_histories_alone_are_tried(make):
    data = make(splits=Splits(name="cold_users", share=0.3, k=1, n_queries=1), seed=2)
    fixed = Fixed()
    tune(fixed, data, k=1)
    assert EARLY in fixed.settings
    early = first_interactions(data.split.train, 2)
    assert early.lengths.max() == 2
    assert early.items.tolist() == [
        item for u in range(early.n_users) for item in data.split.train.history(u)[:2].tolist()
    ]
    assert first_interactions(data.split.train, None) is data.split.train


def test_a_second_run_takes_the_result_from_the_cache(make, tmp_path):
    data = make()
    cache = Cache(tmp_path / "kept", data_fingerprint(data), "test")
    first = run(Fixed(), data, cases_of(data, "test"), cache)
    fits = Fixed.fits
    again = run(Fixed(), data, cases_of(data, "test"), cache)
    assert Fixed.fits == fits
    assert again.rankings["test"].ranks.equal(first.rankings["test"].ranks)
    assert again.rankings["test"].lists.equal(first.rankings["test"].lists)
    assert (again.settings, again.validation, again.seconds) == (first.settings, first.validation, first.seconds)


@pytest.mark.parametrize(
    "change", [{"seed": 1, "ties": "shuffle"}, {"splits": Splits("new_items", share=0.3), "seed": 9}]
)
def test_other_data_or_another_split_is_fitted_anew(make, change):
    assert data_fingerprint(make()) == data_fingerprint(make())
    assert data_fingerprint(make()) != data_fingerprint(make(**change))


def test_the_fingerprint_knows_what_is_held_back(make, typed):
    before = data_fingerprint(make())
    text = (typed / "interactions.csv").read_text()
    (typed / "interactions.csv").write_text(text.replace("ann,fargo,4", "ann,007,4"))
    assert data_fingerprint(make()) != before


def test_an_id_model_says_that_it_cannot_rank_new_items(make, tmp_path):
    data = make(splits=Splits(name="new_items", share=0.3), seed=9)
    cache = Cache(None, data_fingerprint(data), "test")
    with pytest.raises(UnavailableError, match="can't rank new items"):
        run(Fixed(), data, cases_of(data, "test"), cache)


def test_new_items_are_ranked_in_the_catalogue_and_among_themselves(make):
    data = make(splits=Splits(name="new_items", share=0.3), seed=9)
    fixed = Fixed()
    fixed.fit(data.split.train, data)
    found = rank_cases(fixed, data.split.test, data)
    assert found.among is not None
    assert (found.among <= found.ranks).all()
    assert int(found.among.max()) < int(data.split.test.among.sum())


def test_histories_are_whole_and_cut_by_the_contender(make):
    data = make(max_history=1)
    seen = []
    fixed = Fixed()
    fixed.fit(data.split.train, data)
    fixed.score = lambda batch: (seen.append(batch.history), torch.zeros(len(batch.users), len(data.catalogue)))[1]
    rank_cases(fixed, data.split.test, data)
    assert max(history.shape[1] for history in seen) == 3


def test_the_newest_items_stand_in_the_last_columns():
    history = torch.tensor([[-1, 0, 2], [3, 1, 1]])
    assert last_of(history, 2).tolist() == [[0, 2], [1, 1]]
    assert last_of(history, 9).tolist() == last_of(history, None).tolist() == history.tolist()


def test_time_and_memory_are_measured():
    size = 30 * 2**20
    with mmap.mmap(-1, size) as fresh, Measured() as measured:  # pages of its own: numpy may be given used ones
        fresh.write(b"x" * size)
    assert measured.seconds > 0
    assert measured.memory > 20 * 2**20
