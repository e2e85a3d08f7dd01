"""Fused: a checkpoint and a baseline as one contender."""

import lightning as L
import pytest
import torch

from recall_lightning import ItemTower, MeanTower, RecallDataModule, RecallModule, Tabular
from recall_lightning.baselines.evaluate import rank_cases, recall_of
from recall_lightning.baselines.fused import Fused
from recall_lightning.baselines.markov import MarkovChain
from recall_lightning.baselines.text_profile import TfIdfProfile
from recall_lightning.baselines.trained import Trained
from recall_lightning.baselines.tuning import tune
from recall_lightning.modules.encoder_config import EncoderConfig


@pytest.fixture
def data(typed, tiny_encoder, tmp_path):
    reader = Tabular(str(typed / "interactions.csv"), str(typed / "items.csv"))
    made = RecallDataModule(reader, "{title}. {genres}", str(tiny_encoder), cache_dir=str(tmp_path / "cache"))
    made.setup()
    return made


@pytest.fixture
def trained(data, tiny_encoder, tmp_path):
    module = RecallModule(EncoderConfig(str(tiny_encoder)), MeanTower(), ItemTower(), ks=[2])
    trainer = L.Trainer(
        max_epochs=1, logger=False, accelerator="cpu", enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "made.ckpt")
    return Trained(str(tmp_path / "made.ckpt"))


def test_of_no_weight_it_ranks_as_the_model_alone_does(trained, data):
    fused = Fused(trained, MarkovChain())
    fused.fit(data.split.train, data)
    fused.settings["weight"] = 0.0
    assert rank_cases(fused, data.split.test, data).ranks.equal(rank_cases(trained, data.split.test, data).ranks)


@pytest.mark.parametrize("way", ["score", "rank"])
def test_of_a_huge_weight_it_ranks_as_the_baseline_alone_does(trained, data, way):
    fused = Fused(trained, MarkovChain())
    fused.fit(data.split.train, data)
    fused.settings |= {"weight": 1e9, "way": way}
    ranks = rank_cases(fused, data.split.test, data).ranks
    assert ranks.equal(rank_cases(fused.channel, data.split.test, data).ranks)


def test_tuned_it_recalls_no_less_on_validation_than_the_model_alone(trained, data):
    fused = Fused(trained, MarkovChain())
    recall = tune(fused, data, k=2).recall
    trained.fit(data.split.train, data)
    assert recall >= recall_of(rank_cases(trained, data.split.validation, data), 2)
    assert recall == recall_of(rank_cases(fused, data.split.validation, data), 2)
    assert fused.settings["of the baseline"] == fused.channel.settings


def test_scores_that_are_kept_are_those_of_the_cases_they_are_asked_for(trained, data, monkeypatch):
    fused = Fused(trained, MarkovChain())
    fused.fit(data.split.train, data)
    fused.settings["weight"] = 0.5
    once = [rank_cases(fused, part, data).ranks for part in (data.split.validation, data.split.test)]
    assert fused._kept
    again = [rank_cases(fused, part, data).ranks for part in (data.split.validation, data.split.test)]
    monkeypatch.setattr("recall_lightning.baselines.fused._KEPT", 0)
    fused._kept = {}
    anew = [rank_cases(fused, part, data).ranks for part in (data.split.validation, data.split.test)]
    assert not fused._kept
    for a, b, c in zip(once, again, anew, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_it_answers_about_new_items_where_its_baseline_can(trained):
    assert not Fused(trained, MarkovChain()).serves_new_items
    assert Fused(trained, TfIdfProfile()).serves_new_items


def test_what_tells_it_from_others_is_the_checkpoint_and_the_baseline(trained):
    told = [Fused(trained, channel).identity for channel in (MarkovChain(), TfIdfProfile())]
    assert told[0] != told[1]
    assert told[0]["checkpoint"] == trained.identity["checkpoint"]
