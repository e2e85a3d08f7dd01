"""What `compare` compares with, and how."""

import numpy as np
import pytest
import torch

from recall_lightning import RecallDataModule, Tabular
from recall_lightning.baselines.base import Contender
from recall_lightning.baselines.evaluate import evaluate
from recall_lightning.baselines.popularity import Popularity
from recall_lightning.baselines.profile import EncoderProfile


@pytest.fixture
def data(typed, tiny_encoder):
    made = RecallDataModule(
        Tabular(str(typed / "interactions.csv"), str(typed / "items.csv")), "{title}. {genres}", str(tiny_encoder),
        eval_batch_size=2,
    )  # fmt: skip
    made.setup()
    return made


def cases(data):
    return next(iter(data.test_dataloader()))


def test_popularity_counts_training_interactions_alone(data):
    popularity = Popularity()
    popularity.fit(data)
    scores = dict(zip(data.catalogue.ids, popularity.score(cases(data))[0].tolist(), strict=True))
    # held back: ann brazil and fargo, bob brazil and 007, cy fargo and alien
    assert scores == {"heat": 2, "alien": 2, "brazil": 0, "fargo": 0, "007": 1}


def test_a_profile_is_the_cosine_to_the_mean_of_the_last_items(data, tiny_encoder):
    profile = EncoderProfile(str(tiny_encoder))
    profile.fit(data)
    last = profile.tower.last
    assert f"mean of the last {last}" in profile.name
    batch = cases(data)
    scores = profile.score(batch)
    for row in range(len(batch.users)):
        met = [item for item in batch.history[row].tolist() if item >= 0][-last:]
        user = torch.stack([profile.vectors[item] for item in met]).mean(0)
        for item in range(len(data.catalogue)):
            expected = float(torch.nn.functional.cosine_similarity(user, profile.vectors[item], dim=0))
            assert float(scores[row, item]) == pytest.approx(expected, abs=1e-5)


class Fixed(Contender):
    name = "fixed"

    def fit(self, data):
        self.items = len(data.catalogue)

    def score(self, batch):
        return torch.arange(self.items, dtype=torch.float32).expand(len(batch.users), -1).clone()


@pytest.mark.parametrize("at_once", [2**24, 5])  # all cases of a batch together, and one by one
def test_every_item_but_those_already_met_is_ranked(data, monkeypatch, at_once):
    monkeypatch.setattr("recall_lightning.baselines.evaluate.SCORES_AT_ONCE", at_once)
    fixed = Fixed()
    fixed.fit(data)
    found = evaluate(fixed, data, "test", [1, 2])
    # the best is 007, then fargo, brazil, alien, heat
    # left to ann: fargo* 007; to bob: heat fargo 007*; to cy: brazil alien*
    assert found["recall@1"] == pytest.approx(1 / 3)
    assert found["recall@2"] == pytest.approx(3 / 3)
    assert found["ndcg@2"] == pytest.approx((1 + 2 / np.log2(3)) / 3)


def test_a_contender_that_scores_all_items_alike_recalls_nothing_it_could_miss(data):
    fixed = Fixed()
    fixed.fit(data)
    fixed.score = lambda batch: torch.zeros(len(batch.users), fixed.items)
    assert evaluate(fixed, data, "test", [1])["recall@1"] == 0.0
