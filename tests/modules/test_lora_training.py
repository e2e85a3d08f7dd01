"""RecallModule with adapters in a Trainer, on a user's own two tables."""

import shutil

import lightning as L
import pytest
import torch
from transformers import AutoModel

from recall_lightning import (
    L2SP,
    InputError,
    ItemTower,
    RecallDataModule,
    RecallLoss,
    RecallModule,
    Recommender,
    Tabular,
    TransformerTower,
)
from recall_lightning.modules.encoder_config import EncoderConfig
from recall_lightning.modules.optimizers import OptimizerConfig

pytest.importorskip("peft", reason="the extra `lora` isn't installed")

RANK = 3


def data_module(typed, encoder):
    return RecallDataModule(
        Tabular(str(typed / "interactions.csv"), str(typed / "items.csv")), "{title} ({year}). {genres}", str(encoder),
        batch_size=1, max_history=3, max_encoded_items=3,
    )  # fmt: skip


def module(encoder, *, loss=None, **settings):
    return RecallModule(
        EncoderConfig(str(encoder), **({"lora_rank": RANK} | settings)), TransformerTower(1, 2, dropout=0.2),
        ItemTower(dim=16, residual=True), loss, candidates="catalogue", optimizer=OptimizerConfig(encoder_lr=1e-2),
    )  # fmt: skip


def trainer(folder, **changes):
    settings = {
        "max_epochs": 3, "logger": False, "accelerator": "cpu", "enable_progress_bar": False,
        "enable_model_summary": False, "enable_checkpointing": False, "num_sanity_val_steps": 0,
        "use_distributed_sampler": False, "default_root_dir": folder,
    } | changes  # fmt: skip
    return L.Trainer(**settings)


class BeforeTheFirstStep(L.Callback):
    """Keeps the weights that training starts with."""

    def on_train_start(self, trainer, module):
        self.weights = weights(module)


def weights(recall):
    return {name: value.clone() for name, value in recall.state_dict().items() if isinstance(value, torch.Tensor)}


def pretrained(part):
    """Weights of an encoder without adapters, by the names they had before."""
    return {n.replace("base_layer.", ""): p for n, p in part.named_parameters() if "lora_" not in n}


def assert_equal_weights(one, other):
    assert one.keys() == other.keys()
    assert not [name for name in one if not one[name].equal(other[name])]


@pytest.mark.parametrize(("frozen_layers", "pooling"), [(0, "mean"), (1, "cls")])
def test_steps_change_every_adapter_and_none_of_the_pretrained_weights(
    typed, tiny_encoder, tmp_path, frozen_layers, pooling
):
    recall, start = module(tiny_encoder, frozen_layers=frozen_layers, pooling=pooling), BeforeTheFirstStep()
    run = trainer(tmp_path, callbacks=[start])
    run.fit(recall, data_module(typed, tiny_encoder))
    assert run.global_step == 6
    after = weights(recall)
    encoder = {name for name in after if name.startswith("model.encoder.")}
    adapters = {name for name in encoder if "lora_" in name}
    assert len(adapters) == 12 * (2 - frozen_layers)  # A and B at each of six linear layers
    assert {name for name in encoder if not after[name].equal(start.weights[name])} == adapters
    untouched = EncoderConfig(str(tiny_encoder)).text_encoder(AutoModel.from_pretrained(tiny_encoder))
    kept = pretrained(recall.model.encoder)
    assert kept.keys() == dict(untouched.named_parameters()).keys()
    assert all(p.equal(kept[name]) for name, p in untouched.named_parameters())


def test_the_encoders_learning_rate_is_that_of_the_adapters_alone(typed, tiny_encoder, tmp_path):
    recall = module(tiny_encoder)
    run = trainer(tmp_path, max_epochs=1)
    run.fit(recall, data_module(typed, tiny_encoder))
    names = {id(p): name for name, p in recall.named_parameters()}
    group, *others = run.optimizers[0].param_groups
    assert group["name"] == "encoder"
    assert all(".lora_" in names[id(p)] for p in group["params"])
    assert sum(p.numel() for p in group["params"]) == 448 * RANK * 2  # see tests/models/test_lora.py
    assert [other["name"] for other in others] == ["towers", "towers-undecayed"]
    assert not any(".encoder." in names[id(p)] for other in others for p in other["params"])


def test_a_checkpoint_recommends_the_same_without_the_encoder_it_was_made_of(typed, tiny_encoder, tmp_path):
    encoder = tmp_path / "encoder"
    shutil.copytree(tiny_encoder, encoder)
    recall = module(encoder)
    run = trainer(tmp_path)
    run.fit(recall, data_module(typed, encoder))
    run.save_checkpoint(tmp_path / "model.ckpt")
    shutil.rmtree(encoder)
    loaded = Recommender.from_checkpoint(tmp_path / "model.ckpt", device="cpu")
    assert_equal_weights(weights(recall), weights(loaded.module))
    assert loaded.module.encoder_config.lora_rank == RANK
    histories = {"zoe": ["alien", "heat"], "yan": ["007"]}
    assert loaded.recommend(histories).table.equals(Recommender(recall).recommend(histories).table)
    new = recall.model.encoder.eval()(*tokens_of("a new item"))
    assert new.equal(loaded.module.model.encoder(*tokens_of("a new item")))


def tokens_of(text):
    ids = torch.tensor([[5 + ord(letter) % 26 for letter in text]])
    return ids, torch.ones_like(ids, dtype=torch.bool)


@pytest.mark.parametrize("steps", [1, 3])  # inside of the first epoch, and of the second
def test_a_resumed_run_ends_with_the_weights_of_one_never_stopped(typed, tiny_encoder, tmp_path, steps):
    class Stop(L.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == steps:
                trainer.save_checkpoint(tmp_path / "inside.ckpt")
                raise KeyboardInterrupt

    def make(seed, *callbacks):
        torch.manual_seed(seed)
        recall = module(tiny_encoder, loss=RecallLoss(regularizers=[L2SP(0.1)]))
        return trainer(tmp_path, callbacks=list(callbacks)), recall, data_module(typed, tiny_encoder)

    run, whole, data = make(5)
    run.fit(whole, data)
    run, first, data = make(5, Stop())
    with pytest.raises(SystemExit):
        run.fit(first, data)
    run, resumed, data = make(99)  # other adapters at first: the checkpoint's count
    run.fit(resumed, data, ckpt_path=tmp_path / "inside.ckpt", weights_only=True)
    assert run.global_step == 6
    assert_equal_weights(weights(whole), weights(resumed))


def test_l2sp_charges_for_the_adapters_distance_from_their_start(typed, tiny_encoder, tmp_path):
    start, regularizer = BeforeTheFirstStep(), L2SP(weight=2.0)
    recall = module(tiny_encoder, loss=RecallLoss(regularizers=[regularizer]))
    trainer(tmp_path, callbacks=[start]).fit(recall, data_module(typed, tiny_encoder))
    adapters = {name: p for name, p in recall.named_parameters() if ".lora_" in name}
    moved = sum(float((p.detach() - start.weights[name]).square().sum()) for name, p in adapters.items())
    parameters = {name: p for name, p in recall.named_parameters() if p.requires_grad}
    assert moved > 0
    assert regularizer(torch.zeros(0, 16), parameters).item() == pytest.approx(2.0 * 0.5 * moved, rel=1e-5)


def test_more_frozen_layers_than_there_are_is_told_as_without_adapters(typed, tiny_encoder, tmp_path):
    with pytest.raises(InputError, match=r"model\.encoder\.frozen_layers is 3, but the encoder has 2 layers"):
        trainer(tmp_path).fit(module(tiny_encoder, frozen_layers=3), data_module(typed, tiny_encoder))
