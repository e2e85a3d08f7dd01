"""Lightning's callbacks that keep averages of the weights, on MovieLens-100K with a tiny encoder."""

from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, StochasticWeightAveraging, WeightAveraging

from recall_lightning import (
    EpisodeDataModule,
    InputError,
    ItemTower,
    MAMLRecallModule,
    MovieLens,
    PretrainDataModule,
    PretrainModule,
    RecallDataModule,
    RecallModule,
    TransformerTower,
)
from recall_lightning.data.splits import Splits
from recall_lightning.modules.encoder_config import EncoderConfig
from recall_lightning.pretrained import load_model

STEPS = 3


class Recorded(L.Callback):
    """Weights after each step, with those before the first."""

    def on_train_start(self, trainer, module):
        self.weights = [taken(module)]

    def on_train_batch_end(self, trainer, module, *_):
        self.weights.append(taken(module))


def taken(module):
    return {name: value.detach().clone() for name, value in module.named_parameters()}


@pytest.fixture
def data(movielens, tiny_encoder):
    def made(kind=RecallDataModule, **changes):
        settings = {"batch_size": 16, "max_text_tokens": 24} | changes
        return kind(MovieLens(str(movielens)), "{title}. {genres}", str(tiny_encoder), **settings)

    return made


@pytest.fixture
def module(tiny_encoder):
    def made(**encoder):
        torch.manual_seed(0)
        return RecallModule(
            EncoderConfig(str(tiny_encoder), **encoder), TransformerTower(layers=1, heads=2),
            ItemTower(dim=16, residual=True), candidates="catalogue", prior=True, transitions=True,
        )  # fmt: skip

    return made


@pytest.fixture
def fit(tmp_path):
    """Fit for two epochs, checkpoint after the last; the checkpoint's path and the metrics that were logged there."""

    def fitted(module, data, *callbacks, ckpt_path=None, **changes):
        best = ModelCheckpoint(tmp_path / f"run{len(list(tmp_path.iterdir()))}", filename="{epoch}", save_top_k=-1)
        trainer = L.Trainer(
            **{
                "max_epochs": 2, "limit_train_batches": STEPS, "logger": False, "accelerator": "cpu",
                "enable_progress_bar": False, "enable_model_summary": False, "use_distributed_sampler": False,
                "callbacks": [*callbacks, best], "num_sanity_val_steps": 1,
            } | changes
        )  # fmt: skip
        torch.manual_seed(0)  # of what `setup` draws
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
        return best.best_model_path, {name: float(value) for name, value in trainer.callback_metrics.items()}

    return fitted


def validated(path, data):
    (found,) = L.Trainer(logger=False, accelerator="cpu", enable_progress_bar=False).validate(
        RecallModule.load_from_checkpoint(path), datamodule=data, verbose=False
    )
    return found


@pytest.mark.parametrize("encoder", [{}, {"frozen_layers": -1}], ids=["trained", "frozen"])
def test_a_checkpoint_holds_the_averaged_weights_and_validation_is_of_them(module, data, fit, encoder):
    recorded = Recorded()
    cached = data(max_encoded_items=32) if not encoder else data()
    path, logged = fit(module(**encoder), cached, recorded, EMAWeightAveraging(decay=0.5, use_buffers=False))
    kept = torch.load(path, weights_only=True)["state_dict"]
    for name in recorded.weights[0]:
        mean = recorded.weights[1][name].clone()  # the first average is what the first step left
        for step in recorded.weights[2:]:
            mean = 0.5 * mean + 0.5 * step[name]
        torch.testing.assert_close(kept[name], mean)
    last = recorded.weights[-1]
    assert any(not kept[name].equal(value) for name, value in last.items())
    found = validated(path, data())
    assert {name: logged[name] for name in found} == pytest.approx(found, abs=1e-6)


@pytest.mark.parametrize("encoder", [{}, {"frozen_layers": -1}], ids=["trained", "frozen"])
def test_what_is_trained_is_not_changed_by_averaging(module, data, fit, encoder):
    plain, averaged = Recorded(), Recorded()
    cached = {} if encoder else {"max_encoded_items": 32}
    fit(module(**encoder), data(**cached), plain)
    fit(module(**encoder), data(**cached), averaged, EMAWeightAveraging(decay=0.5, use_buffers=False))
    assert len(plain.weights) == 2 * STEPS + 1
    for one, other in zip(plain.weights, averaged.weights, strict=True):
        assert all(one[name].equal(other[name]) for name in one)


def test_a_run_that_goes_on_ends_with_the_average_of_one_unbroken(module, data, fit):
    ema = {"decay": 0.5, "use_buffers": False}
    whole, _ = fit(module(), data(max_encoded_items=32), EMAWeightAveraging(**ema))
    recorded = Recorded()
    half = Path(whole).with_name("epoch=0.ckpt")
    again, _ = fit(module(), data(max_encoded_items=32), recorded, EMAWeightAveraging(**ema), ckpt_path=half)
    assert len(recorded.weights) == STEPS + 1
    first, second = (torch.load(path, weights_only=True)["state_dict"] for path in (whole, again))
    assert all(second[name].equal(value) for name, value in first.items())


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (EMAWeightAveraging(), "EMAWeightAveraging would average buffers, too"),
        (WeightAveraging(), "WeightAveraging would average buffers, too"),
        (StochasticWeightAveraging(swa_lrs=0.1), "StochasticWeightAveraging copies a module before it has weights"),
    ],
)
def test_what_would_average_no_weights_or_more_than_them_is_refused(module, data, fit, callback, message):
    with pytest.raises(InputError, match=rf"trainer\.callbacks: {message}.* use_buffers: false"):
        fit(module(), data(), callback)


def test_a_module_that_has_weights_already_is_looked_at_too(module, data, fit):
    path, _ = fit(module(), data())
    with pytest.raises(InputError, match="would average buffers, too"):
        fit(RecallModule.load_from_checkpoint(path), data(), EMAWeightAveraging())


def test_a_checkpoint_that_would_hold_other_weights_than_the_average_is_refused(module, data, fit, tmp_path):
    other = ModelCheckpoint(tmp_path, save_weights_only=True, every_n_epochs=2)
    with pytest.raises(InputError, match="save_weights_only: false"):
        fit(module(), data(), EMAWeightAveraging(use_buffers=False), other)


def test_weights_that_are_not_trained_stay_as_they_came_to_the_bit(module, data, fit, tiny_encoder):
    path, _ = fit(module(frozen_layers=-1), data(), EMAWeightAveraging(decay=0.998, use_buffers=False), max_epochs=4)
    came = load_model(str(tiny_encoder)).state_dict()
    kept = RecallModule.load_from_checkpoint(path).model.encoder.model.state_dict()
    assert kept
    assert all(came[name].equal(value) for name, value in kept.items())


def test_layers_that_pretraining_freezes_stay_as_they_came_to_the_bit(data, fit, tiny_encoder):
    frozen = PretrainModule(EncoderConfig(str(tiny_encoder), frozen_layers=1), mlm_weight=0.0)
    path, _ = fit(frozen, data(PretrainDataModule), EMAWeightAveraging(decay=0.998, use_buffers=False), max_epochs=4)
    kept = torch.load(path, weights_only=True)["state_dict"]
    came = load_model(str(tiny_encoder)).state_dict()
    fixed = {n: w for n, w in frozen.named_parameters() if not w.requires_grad}
    assert fixed
    for name in fixed:
        assert kept[name].equal(next(value for of, value in came.items() if name.endswith(of)))


def test_pretraining_whose_layers_processes_were_to_share_is_refused(data, fit, tiny_encoder, monkeypatch):
    monkeypatch.setattr(PretrainModule, "sharded", True)
    with pytest.raises(InputError, match="pretraining shares no layers"):
        fit(PretrainModule(EncoderConfig(str(tiny_encoder)), mlm_weight=0.0), data(PretrainDataModule))


def test_meta_training_and_pretraining_are_averaged_too(data, fit, tiny_encoder):
    encoder, ema = EncoderConfig(str(tiny_encoder)), {"decay": 0.5, "use_buffers": False}
    episodes = data(EpisodeDataModule, splits=Splits("cold_users", share=0.2, k=2, n_queries=2))
    for module, of in [
        (MAMLRecallModule(EncoderConfig(str(tiny_encoder), frozen_layers=-1)), episodes),
        (PretrainModule(encoder, mlm_weight=0.0), data(PretrainDataModule)),
    ]:
        recorded = Recorded()
        path, _ = fit(module, of, recorded, EMAWeightAveraging(**ema), limit_val_batches=1)
        kept = torch.load(path, weights_only=True)["state_dict"]
        expected = {name: recorded.weights[1][name] for name in recorded.weights[0]}
        for step in recorded.weights[2:]:
            expected = {name: 0.5 * value + 0.5 * step[name] for name, value in expected.items()}
        for name, value in expected.items():
            torch.testing.assert_close(kept[name], value)
