"""Frozen layers below read the catalogue once: training is the same as if each step had run them."""

import pytest
import torch
from meta_runs import attached, data_module, trainer, weights

from recall_lightning import ItemTower, MeanTower, RecallDataModule, RecallModule
from recall_lightning.modules import frozen_layers
from recall_lightning.modules.encoder_config import EncoderConfig
from recall_lightning.modules.encoding import encode_texts
from recall_lightning.modules.frozen_layers import encode_texts_above, lower_of_texts


def module(folder, **changes):
    settings = {"attention": "packed", "frozen_layers": 1, "dropout": 0.0} | changes
    return RecallModule(EncoderConfig(str(folder), **settings), MeanTower(), ItemTower(8))


def made(movielens, tiny_encoder, tmp_path, **changes):
    data = data_module(movielens, tiny_encoder, RecallDataModule)
    attached_ = attached(module(tiny_encoder, **changes), data, tmp_path)
    return attached_, lower_of_texts(attached_.model.encoder, data.tokens, torch.device("cpu"))


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_by_the_layers_above_are_those_by_all_layers(movielens, tiny_encoder, tmp_path, pooling):
    part, lower = made(movielens, tiny_encoder, tmp_path, pooling=pooling)
    encoder, tokens = part.model.encoder, part.tokens
    assert lower.hidden.shape == (tokens.lengths.sum(), encoder.dim)
    whole = encode_texts(encoder, tokens, torch.device("cpu"))
    above = encode_texts_above(encoder, lower, tokens, torch.device("cpu"))
    torch.testing.assert_close(above, whole, atol=1e-5, rtol=1e-4)


def test_training_comes_to_the_same_weights(movielens, tiny_encoder, tmp_path, monkeypatch):
    found = []
    for most in (2**31, 0):
        monkeypatch.setattr(frozen_layers, "MOST_BYTES", most)
        torch.manual_seed(0)
        part, used = module(tiny_encoder), []
        part.on_train_batch_end = lambda *_, part=part, used=used: used.append(part.model.lower is not None)
        trainer(tmp_path, max_epochs=2).fit(part, data_module(movielens, tiny_encoder, RecallDataModule))
        assert used == [most > 0] * 6
        assert part.model.lower is None
        found.append(weights(part))
    kept, each = found
    for name, weight in each.items():
        torch.testing.assert_close(kept[name], weight, atol=1e-5, rtol=1e-3)


def test_a_step_runs_the_layers_above_alone(movielens, tiny_encoder, tmp_path):
    part, ran = module(tiny_encoder), {0: 0, 1: 0}

    def watch(*_):
        for at, layer in enumerate(part.model.encoder.model.encoder.layer):
            layer.register_forward_hook(lambda *_, at=at: ran.update({at: ran[at] + 1}))

    part.on_train_epoch_start = watch
    run = trainer(tmp_path, limit_val_batches=0)
    run.fit(part, data_module(movielens, tiny_encoder, RecallDataModule))
    assert ran == {0: 0, 1: 3}


@pytest.mark.parametrize(
    "changes",
    [
        {"dropout": None},
        {"attention": "eager"},
        {"frozen_layers": 0},
        {"frozen_layers": 2},
        {"frozen_layers": -1},
        {"texts_at_once": 4},
    ],
)
def test_nothing_is_kept_where_the_lower_layers_have_to_run_each_time_or_never(
    movielens, tiny_encoder, tmp_path, changes
):
    assert made(movielens, tiny_encoder, tmp_path, **changes)[1] is None
