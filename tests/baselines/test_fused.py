"""Fused: a checkpoint and a baseline as one contender."""

import pytest
import torch

from recall_lightning import ItemTower, MeanTower, RecallModule
from recall_lightning.baselines.evaluate import rank_cases, recall_of
from recall_lightning.baselines.fused import WEIGHTS, Fused
from recall_lightning.baselines.markov import MarkovChain
from recall_lightning.baselines.text_profile import TfIdfProfile
from recall_lightning.baselines.trained import Trained
from recall_lightning.baselines.tuning import Search, tune
from recall_lightning.data.batches import EvalBatch
from recall_lightning.modules.encoder_config import EncoderConfig


@pytest.fixture
def trained(typed_data, tiny_encoder, fit_once):
    module = RecallModule(EncoderConfig(str(tiny_encoder)), MeanTower(), ItemTower(), ks=[2])
    return Trained(fit_once(module, typed_data)[1])


def test_of_no_weight_it_ranks_as_the_model_alone_does(trained, typed_data):
    fused = Fused(trained, MarkovChain())
    fused.fit(typed_data.split.train, typed_data)
    fused.settings["way and weight"] = ("score", 0.0)
    assert rank_cases(fused, typed_data.split.test, typed_data).ranks.equal(
        rank_cases(trained, typed_data.split.test, typed_data).ranks
    )


@pytest.mark.parametrize("way", ["score", "rank"])
def test_of_a_huge_weight_it_ranks_as_the_baseline_alone_does(trained, typed_data, way):
    fused = Fused(trained, MarkovChain())
    fused.fit(typed_data.split.train, typed_data)
    fused.settings["way and weight"] = (way, 1e9)
    ranks = rank_cases(fused, typed_data.split.test, typed_data).ranks
    assert ranks.equal(rank_cases(fused.channel, typed_data.split.test, typed_data).ranks)


def test_tuned_it_recalls_no_less_on_validation_than_the_model_alone(trained, typed_data):
    fused = Fused(trained, MarkovChain())
    recall = tune(fused, typed_data, k=2).recall
    trained.fit(typed_data.split.train, typed_data)
    assert recall >= recall_of(rank_cases(trained, typed_data.split.validation, typed_data), 2)
    assert recall == recall_of(rank_cases(fused, typed_data.split.validation, typed_data), 2)
    assert fused.settings["of the baseline"] == fused.channel.settings


def test_scores_that_are_kept_are_those_of_the_cases_they_are_asked_for(trained, typed_data, monkeypatch):
    fused = Fused(trained, MarkovChain())
    fused.fit(typed_data.split.train, typed_data)
    fused.settings["way and weight"] = ("rank", 0.5)
    once = [rank_cases(fused, part, typed_data).ranks for part in (typed_data.split.validation, typed_data.split.test)]
    assert fused._kept
    again = [rank_cases(fused, part, typed_data).ranks for part in (typed_data.split.validation, typed_data.split.test)]
    monkeypatch.setattr("recall_lightning.baselines.fused._KEPT", 0)
    fused._kept = {}
    anew = [rank_cases(fused, part, typed_data).ranks for part in (typed_data.split.validation, typed_data.split.test)]
    assert not fused._kept
    for a, b, c in zip(once, again, anew, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_every_weight_is_tried_by_scores_and_by_ranks(trained, typed_data):
    search = Search(Fused(trained, MarkovChain()), typed_data, [(typed_data.splits, typed_data.split.validation)], k=2)
    search.best()
    assert {key[0] for key in search.seen} == {(way, weight) for way in ("score", "rank") for weight in WEIGHTS}


def test_cases_whose_histories_and_known_items_join_to_the_same_numbers_are_told_apart(trained, typed_data):
    fused = Fused(trained, MarkovChain())
    fused.fit(typed_data.split.train, typed_data)
    fused.settings["way and weight"] = ("score", 0.5)
    batches = [
        EvalBatch(torch.tensor([0]), torch.tensor([history]), torch.tensor([[4]]), torch.tensor([known]))
        for history, known in [([0, 1], [2]), ([0], [1, 2])]
    ]
    first, second = (fused.score(batch) for batch in batches)
    assert first[0].isinf().nonzero()[:, 0].tolist() == [2]
    assert second[0].isinf().nonzero()[:, 0].tolist() == [1, 2]


def test_it_answers_about_new_items_where_its_baseline_can(trained):
    assert not Fused(trained, MarkovChain()).serves_new_items
    assert Fused(trained, TfIdfProfile()).serves_new_items


def test_what_tells_it_from_others_is_the_checkpoint_and_the_baseline(trained):
    told = [Fused(trained, channel).identity for channel in (MarkovChain(), TfIdfProfile())]
    assert told[0] != told[1]
    assert told[0]["checkpoint"] == trained.identity["checkpoint"]
