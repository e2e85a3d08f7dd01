"""The threshold alpha of a module: chosen in validation, kept in checkpoints, reported in tests."""

import logging

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.nn import functional as F

from recall_lightning import Dot, InputError, ItemTower, RecallDataModule, RecallLoss, RecallModule, Tabular
from recall_lightning.models.user_tower import TransformerTower
from recall_lightning.modules.encoder_config import EncoderConfig
from recall_lightning.modules.threshold import ThresholdChoice, ThresholdConfig


@pytest.fixture
def data(typed, tiny_encoder):
    reader = Tabular(str(typed / "interactions.csv"), str(typed / "items.csv"))
    return RecallDataModule(reader, "{title} ({year}). {genres}", str(tiny_encoder), max_history=10)


def module(tiny_encoder, threshold, **changes):
    torch.manual_seed(0)
    towers = {"user_tower": TransformerTower(1, 2), "item_tower": ItemTower(residual=True)}
    return RecallModule(EncoderConfig(str(tiny_encoder)), **towers, threshold=threshold, **changes)


def trainer(tmp_path, *callbacks, **changes):
    settings = {
        "max_epochs": 2, "logger": False, "accelerator": "cpu", "enable_progress_bar": False,
        "enable_model_summary": False, "num_sanity_val_steps": 0, "use_distributed_sampler": False,
        "default_root_dir": tmp_path, "callbacks": list(callbacks), "enable_checkpointing": bool(callbacks),
    } | changes  # fmt: skip
    return L.Trainer(**settings)


def slow_pairs(recall, data, cases, similarity=F.cosine_similarity):
    """`(score, is it the target?)` of every case and item that the user has not met."""
    pairs = []
    with torch.no_grad():
        items = recall.eval().model.catalogue_vectors()
        for case in range(len(cases)):
            met = data.interactions.items[slice(*cases.history[case])]
            target = data.interactions.items[cases.targets[case, 0]]
            user = recall.model.users(items, torch.from_numpy(met)[None])[0, -1]
            scores = similarity(user[None], items).flatten().tolist()
            pairs += [(score, item == target) for item, score in enumerate(scores) if item not in set(met.tolist())]
    return pairs


def slow_at(pairs, alpha, n_users):
    recalled = [hit for score, hit in pairs if score >= alpha]
    return sum(recalled) / n_users, sum(recalled) / max(len(recalled), 1), len(recalled) / n_users


def test_validation_logs_the_alpha_with_most_recall_that_the_constraint_leaves(data, tiny_encoder, tmp_path):
    recall, run = module(tiny_encoder, ThresholdConfig(max_items_per_user=1)), trainer(tmp_path)
    run.fit(recall, data)
    logged = {name: float(value) for name, value in run.callback_metrics.items() if "alpha" in name}
    assert set(logged) == {"val/alpha", "val/recall@alpha", "val/precision@alpha", "val/items@alpha"}
    alpha, *at_alpha = (logged[f"val/{name}"] for name in ("alpha", "recall@alpha", "precision@alpha", "items@alpha"))
    pairs, n_users = slow_pairs(recall, data, data.split.validation), 3
    assert at_alpha == pytest.approx(slow_at(pairs, alpha, n_users))
    assert at_alpha[2] <= 1
    # at most one item a user: the three best pairs of all
    allowed = sorted((score for score, _ in pairs), reverse=True)[:3]
    assert at_alpha[0] == pytest.approx(max(slow_at(pairs, score, n_users)[0] for score in allowed))


def test_a_test_reports_at_the_alpha_of_validation_and_chooses_none(data, tiny_encoder, tmp_path):
    recall, run = module(tiny_encoder, ThresholdConfig(beta=1)), trainer(tmp_path)
    run.fit(recall, data)
    point = recall.threshold.point
    logged = run.test(recall, data, verbose=False)[0]
    assert recall.threshold.point == point
    assert "test/alpha" not in logged
    at_alpha = [logged[f"test/{name}@alpha"] for name in ("recall", "precision", "items")]
    assert at_alpha == pytest.approx(slow_at(slow_pairs(recall, data, data.split.test), point.alpha, 3))


def test_the_checkpoint_of_a_validation_carries_its_alpha_through_a_reload_and_a_resume(data, tiny_encoder, tmp_path):
    keep = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    recall, run = module(tiny_encoder, ThresholdConfig(max_items_per_user=2)), trainer(tmp_path, keep)
    run.fit(recall, data)
    stored = torch.load(tmp_path / "epoch=1.ckpt", weights_only=True)["recall_lightning"]["threshold"]
    assert stored == recall.threshold.point._asdict() | {"constraint": {"max_items_per_user": 2}}
    assert {type(value) for value in stored.values()} == {float, dict}
    loaded = RecallModule.load_from_checkpoint(tmp_path / "epoch=1.ckpt")
    assert loaded.threshold.point == recall.threshold.point
    assert loaded.threshold.config == recall.threshold.config
    resumed = module(tiny_encoder, ThresholdConfig(max_items_per_user=2))
    again = trainer(tmp_path)  # which has no epoch left
    again.fit(resumed, data, ckpt_path=tmp_path / "epoch=1.ckpt", weights_only=True)
    assert resumed.threshold.point == recall.threshold.point


def test_a_checkpoint_older_than_thresholds_still_loads_and_tests(data, tiny_encoder, tmp_path):
    run = trainer(tmp_path)
    run.fit(module(tiny_encoder, ThresholdConfig()), data)
    run.save_checkpoint(tmp_path / "new.ckpt")
    old = torch.load(tmp_path / "new.ckpt", weights_only=True)
    del old["hyper_parameters"]["threshold"], old["recall_lightning"]["threshold"]
    torch.save(old, tmp_path / "old.ckpt")
    loaded = RecallModule.load_from_checkpoint(tmp_path / "old.ckpt")
    assert loaded.threshold.point is None
    logged = trainer(tmp_path).test(loaded, data, ckpt_path=tmp_path / "old.ckpt", weights_only=True, verbose=False)[0]
    assert "test/recall@10" in logged
    assert not any("alpha" in name for name in logged)


def test_a_constraint_that_no_alpha_meets_is_told_once_and_keeps_none(data, tiny_encoder, tmp_path, caplog):
    recall, run = module(tiny_encoder, ThresholdConfig(max_items_per_user=0.001)), trainer(tmp_path)
    with caplog.at_level(logging.INFO, "recall_lightning"):
        run.fit(recall, data)
    told = [record.getMessage() for record in caplog.records if "alpha" in record.getMessage()]
    assert len(told) == 1
    assert "no threshold meets max_items_per_user 0.001: the fewest are" in told[0]
    assert recall.threshold.point is None
    assert not any("alpha" in name for name in run.callback_metrics)
    run.save_checkpoint(tmp_path / "model.ckpt")
    assert RecallModule.load_from_checkpoint(tmp_path / "model.ckpt").threshold.point is None


def test_a_later_validation_without_an_alpha_drops_the_one_before():
    choice = ThresholdChoice(ThresholdConfig(min_precision=0.5))
    for scores, alpha in [([0.75, 0.25], 0.75), ([0.25, 0.75, 0.75], None)]:
        choice.begin()
        choice.update(torch.tensor([scores]), torch.tensor([0]))
        assert choice.choose().get("alpha") == alpha
        assert (choice.carried() or {}).get("alpha") == alpha


def test_a_sanity_check_chooses_no_alpha(data, tiny_encoder, tmp_path):
    class BeforeTraining(L.Callback):
        def on_train_start(self, trainer, module):
            self.point = module.threshold.point

    seen = BeforeTraining()
    recall = module(tiny_encoder, ThresholdConfig())
    trainer(tmp_path, seen, num_sanity_val_steps=1, enable_checkpointing=False).fit(recall, data)
    assert seen.point is None
    assert recall.threshold.point is not None


def test_alpha_is_on_the_scale_of_the_losss_similarity(data, tiny_encoder, tmp_path):
    recall = module(tiny_encoder, ThresholdConfig(max_items_per_user=3), loss=RecallLoss(Dot(), temperature=1.0))
    trainer(tmp_path, max_epochs=1).fit(recall, data)
    pairs = slow_pairs(recall, data, data.split.validation, torch.inner)
    lowest_hit = min(score for score, hit in pairs if hit)  # no user has more than 3 items left: all hits are recalled
    assert recall.threshold.point.recall == 1
    assert recall.threshold.point.alpha == pytest.approx(lowest_hit, rel=1 / 512)


def test_without_a_setting_fifty_items_a_user_are_the_limit():
    assert ThresholdConfig().constraint == {"max_items_per_user": 50}
    assert ThresholdConfig(min_precision=0.1).constraint == {"min_precision": 0.1}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"min_precision": 1.5}, r"model\.threshold\.min_precision is 1\.5: give a share above 0, up to 1"),
        ({"min_precision": 0}, r"model\.threshold\.min_precision is 0: give a number above 0"),
        ({"max_items_per_user": -1}, r"model\.threshold\.max_items_per_user is -1: give a number above 0"),
        ({"beta": float("nan")}, r"model\.threshold\.beta is nan"),
        ({"beta": 1, "min_precision": 0.5}, r"model\.threshold: min_precision and beta are given.*give one of them"),
    ],
)
def test_a_wrong_setting_is_told_by_its_key(settings, told):
    with pytest.raises(InputError, match=told):
        ThresholdConfig(**settings)
