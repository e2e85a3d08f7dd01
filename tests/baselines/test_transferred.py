"""Transferred: a checkpoint asked about items that it knows by their texts alone."""

import pytest
import torch

from recall_lightning import InputError, ItemTower, MeanTower, RecallDataModule, RecallModule, Tabular, TextTower
from recall_lightning.baselines.evaluate import rank_cases, recall_of
from recall_lightning.baselines.transferred import Transferred
from recall_lightning.baselines.tuning import tune
from recall_lightning.data.batches import EvalBatch
from recall_lightning.modules.encoder_config import EncoderConfig
from recall_lightning.retrieval.recommender import Recommender


@pytest.fixture
def other(typed, tiny_encoder, tmp_path):
    """The same users' data of a shop that words its items in another way."""
    reader = Tabular(str(typed / "interactions.csv"), str(typed / "items.csv"))
    data = RecallDataModule(reader, "{genres}: {title}, {year}", str(tiny_encoder), cache_dir=str(tmp_path / "cache"))
    data.setup()
    return data


@pytest.mark.parametrize(
    "more", [{}, {"prior": True}, {"transitions": True, "neighbours": True, "candidates": "catalogue"}]
)
def test_it_ranks_as_a_recommender_does_to_which_all_items_are_new(typed_data, other, tiny_encoder, fit_once, more):
    module = RecallModule(EncoderConfig(str(tiny_encoder)), MeanTower(), ItemTower(residual=True, words=1), **more)
    path = fit_once(module, typed_data)[1]
    transferred = Transferred(path)
    transferred.check(other)
    transferred.fit(other.split.train, other)
    batch = next(iter(other.test_dataloader()))
    scores = transferred.score(batch)
    renamed = other.catalogue.__class__(
        [f"new {item}" for item in other.catalogue.ids], other.catalogue.texts, other.catalogue.titles,
        other.catalogue.template,
    )  # fmt: skip
    recommender = Recommender.from_checkpoint(path, device="cpu")
    recommender.use_items(renamed)
    for row, history in enumerate(batch.history):
        met = [renamed.ids[item] for item in history.tolist() if item >= 0]
        found = dict(recommender.recommend({"zoe": met}, k=9, include_known=True).of("zoe"))
        assert [found[item] for item in renamed.ids] == pytest.approx(scores[row].tolist(), abs=1e-5)
    nobody = EvalBatch(batch.users[:1], torch.tensor([[-1, -1]]), batch.targets[:1], batch.known[:1])
    assert transferred.score(nobody)[0].tolist() == other.counts.tolist()


def test_how_much_of_a_history_it_reads_is_chosen_by_validation(typed_data, other, tiny_encoder, fit_once):
    module = RecallModule(EncoderConfig(str(tiny_encoder)), MeanTower(), ItemTower())
    transferred = Transferred(fit_once(module, typed_data)[1])
    transferred.fit(other.split.train, other)
    batch = next(iter(other.test_dataloader()))
    assert (batch.history[:, :-1] >= 0).any()
    transferred.settings["last"] = 1
    newest = transferred.score(batch)
    batch.history = batch.history[:, -1:]
    transferred.settings["last"] = None
    assert torch.equal(newest, transferred.score(batch))
    tuned = tune(transferred, other)
    recalls = {}
    for last in Transferred.score_grid["last"]:
        other_choice = Transferred(transferred.path)
        other_choice.fit(other.split.train, other)
        other_choice.settings["last"] = last
        recalls[last] = recall_of(rank_cases(other_choice, other.split.validation, other), 10)
    assert tuned.recall == recalls[transferred.settings["last"]] == max(recalls.values())


def test_items_that_it_was_trained_on_are_refused(typed_data, tiny_encoder, fit_once):
    module = RecallModule(EncoderConfig(str(tiny_encoder)), MeanTower(), ItemTower())
    with pytest.raises(InputError, match=r"made\.ckpt: trained on 5 of these items.*Give it by --ckpt"):
        Transferred(fit_once(module, typed_data)[1]).check(typed_data)


def test_a_tower_that_reads_text_is_refused(typed, tiny_encoder, fit_once):
    reader = Tabular(str(typed / "interactions.csv"), str(typed / "items.csv"))
    data = RecallDataModule(reader, "{title}", str(tiny_encoder), history_tokens=32)
    module = RecallModule(EncoderConfig(str(tiny_encoder)), TextTower(), ItemTower())
    with pytest.raises(InputError, match="only a `method: recall` model"):
        Transferred(fit_once(module, data)[1])
