"""A compiled encoder: it trains to the same weights, and steps of other lengths are not compiled anew."""

import pytest
import setuptools  # noqa: F401  # before torch's compiler does, which fails to under pytest
import torch
from meta_runs import attached, data_module, maml, trainer, weights
from torch._dynamo.utils import counters

from recall_lightning import ItemTower, MeanTower, RecallDataModule, RecallModule
from recall_lightning.errors import InputError
from recall_lightning.modules.compiling import compile_layers
from recall_lightning.modules.encoder_config import EncoderConfig
from recall_lightning.pretrained import load_model


@pytest.fixture(autouse=True)
def _anew():
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


def module(folder, **changes):
    return RecallModule(EncoderConfig(str(folder), **({"dropout": 0.0} | changes)), MeanTower(), ItemTower(8))


def test_training_comes_to_the_same_weights_and_shapes_are_compiled_once(movielens, tiny_encoder, tmp_path):
    found, graphs = [], []
    for compiled in (False, True):
        torch.manual_seed(0)
        part = module(tiny_encoder, compile=compiled)
        part.on_train_epoch_end = lambda: graphs.append(counters["stats"]["unique_graphs"])
        trainer(tmp_path, max_epochs=4).fit(part, data_module(movielens, tiny_encoder, RecallDataModule))
        found.append(weights(part))
    plain, compiled = found
    assert graphs[:4] == [0] * 4
    assert 1 <= graphs[4] <= 4  # a step's and validation's kinds of batches: far fewer than their lengths
    assert graphs[4:] == [graphs[4]] * 4
    assert plain.keys() == compiled.keys()  # so that checkpoints are the same, too
    for name, weight in plain.items():
        torch.testing.assert_close(compiled[name], weight, atol=1e-4, rtol=1e-3)


def test_packed_layers_are_not_compiled():
    with pytest.raises(
        InputError, match=r"model\.encoder\.compile is true, but with attention: packed .*give attention"
    ):
        EncoderConfig("bert", compile=True, attention="packed")


def test_without_a_compiler_it_says_so_before_training(movielens, tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match="there is no no-such-compiler: install one"):
        trainer(tmp_path).fit(
            module(tiny_encoder, compile=True), data_module(movielens, tiny_encoder, RecallDataModule)
        )


def test_on_a_gpu_the_compiler_is_one_of_c(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(InputError, match="there is no no-such-compiler: install one, name it in the variable CC"):
        compile_layers(torch.nn.Linear(2, 2), torch.device("cuda"))


def test_an_encoder_that_is_not_trained_is_left_as_it_is(movielens, tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    part = module(tiny_encoder, compile=True, frozen_layers=-1)
    trainer(tmp_path).fit(part, data_module(movielens, tiny_encoder, RecallDataModule))
    assert counters["stats"]["unique_graphs"] == 0


def test_meta_training_comes_to_the_same_loss(movielens, tiny_encoder, tmp_path):
    losses = []
    for compiled in (False, True):
        torch.manual_seed(0)
        part = maml(tiny_encoder, encoder={"dropout": 0.0, "compile": compiled})
        part.on_train_batch_end = lambda made, *_: losses.append(float(made["loss"]))
        trainer(tmp_path, limit_train_batches=2, limit_val_batches=0).fit(part, data_module(movielens, tiny_encoder))
    assert counters["stats"]["unique_graphs"] >= 1
    assert losses[2:] == pytest.approx(losses[:2], rel=1e-4)


def test_texts_of_any_number_and_length_share_a_graph(tiny_encoder):
    encoder = EncoderConfig(str(tiny_encoder), dropout=0.0).text_encoder(load_model(str(tiny_encoder))).train()
    compile_layers(encoder.model, torch.device("cpu"))
    for n_texts, n_tokens in [(3, 9), (5, 7), (40, 11), (6, 13), (17, 5), (4, 21)]:
        mask = torch.ones(n_texts, n_tokens + 2, dtype=torch.bool)
        mask[0, 2:] = False
        ids = torch.randint(5, 20, mask.shape)
        encoder.encode(ids, mask, ((0, n_texts, n_tokens),)).sum().backward()  # narrower than all of them
    assert counters["stats"]["unique_graphs"] == 1


def test_layers_that_processes_share_are_not_compiled(movielens, tiny_encoder, tmp_path, monkeypatch):
    data = data_module(movielens, tiny_encoder, RecallDataModule)
    part = attached(module(tiny_encoder, compile=True), data, tmp_path)
    monkeypatch.setattr(type(part), "sharded", True)
    with pytest.raises(InputError, match=r"model\.encoder\.compile is true, but layers that processes share are not"):
        part.configure_model()
