"""PretrainModule in a Trainer, on the titles of MovieLens-100K with a tiny encoder."""

import json
import math

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from meta_runs import assert_equal_weights, trainer, weights
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer, BertConfig

from recall_lightning import InputError, MovieLens, PretrainDataModule, PretrainModule, RecallDataModule, RecallModule
from recall_lightning.callbacks import default_callbacks
from recall_lightning.contrastive import alignment, contrastive_loss
from recall_lightning.modules.encoder_config import EncoderConfig
from recall_lightning.modules.loading import load_module
from recall_lightning.modules.optimizers import OptimizerConfig
from recall_lightning.pretrained import load_model

FAST = OptimizerConfig(encoder_lr=3e-3, tower_lr=1e-2, warmup=0.0, decay="none")


def data_module(movielens, encoder, /, kind=PretrainDataModule, **changes):
    settings = {"batch_size": 16, "eval_batch_size": 64, "max_text_tokens": 24} | changes
    return kind(MovieLens(str(movielens)), "{title}", str(encoder), **settings)


def module(path, /, **changes):
    config = EncoderConfig(str(path), **changes.pop("encoder", {}))
    return PretrainModule(config, **({"optimizer": FAST} | changes))


def fit(movielens, path, folder, data=None, /, *, run=None, **changes):
    """A module after some steps, and its Trainer."""
    run = run or trainer(folder, limit_train_batches=8, limit_val_batches=2)
    made = module(path, **changes)
    run.fit(made, data_module(movielens, path, **(data or {})))
    return made, run


class Measured(L.Callback):
    """Keeps what each validation told."""

    def __init__(self):
        self.told = []

    def on_validation_end(self, trainer, module):
        kept = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        self.told.append(kept)


# -- training ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "trained", "validated"),
    [
        ({"mlm_weight": 0.0, "temperature": 0.5}, {"contrastive"}, {"contrastive", "alignment", "uniformity"}),
        ({"contrastive_weight": 0.0, "encoder": {"dropout": 0.0}}, {"mlm"}, {"mlm", "perplexity"}),
        ({"mlm_weight": 0.5}, {"mlm", "contrastive"},
         {"mlm", "perplexity", "contrastive", "alignment", "uniformity"}),
    ],
)  # fmt: skip
def test_each_objective_learns_alone_and_beside_the_other(
    movielens, tiny_encoder, tmp_path, weights, trained, validated
):
    measured = Measured()
    run = trainer(tmp_path, max_epochs=3, limit_train_batches=40, limit_val_batches=2, callbacks=[measured])
    made, run = fit(movielens, tiny_encoder, tmp_path, run=run, **weights)
    told = run.callback_metrics
    assert {name for name in told if name.startswith("train/")} == {f"train/{name}" for name in {"loss", *trained}}
    assert {name for name in told if name.startswith("val/")} == {f"val/{name}" for name in {"loss", *validated}}
    first, last = measured.told[0], measured.told[-1]
    assert last["val/loss"] < first["val/loss"]
    of = {"mlm": made.mlm_weight, "contrastive": made.contrastive_weight}
    assert last["val/loss"] == pytest.approx(sum(of[name] * last[f"val/{name}"] for name in trained))
    if "mlm" in trained:
        assert last["val/perplexity"] == pytest.approx(math.exp(last["val/mlm"]))
        assert last["val/mlm"] < math.log(made.model.head.model.config.vocab_size)  # better than guessing


def test_a_validation_is_the_mean_over_texts_and_pairs_of_texts(movielens, tiny_encoder, tmp_path):
    made, run = fit(movielens, tiny_encoder, tmp_path, {"batch_size": 16, "eval_batch_size": 7})
    told = run.validate(made, datamodule=run.datamodule, verbose=False)[0]
    losses, distances, potentials, pairs, n = [], [], 0.0, 0, 0
    made.eval()
    for at, batch in zip(range(2), run.datamodule.val_dataloader(), strict=False):
        texts = batch.tokens.ids, batch.tokens.mask, batch.tokens.buckets
        torch.manual_seed(at * 1_009)
        made.model.masked_language(*texts)  # whose draws come first
        made.model.train()
        with torch.no_grad():
            views = made.model.views(*texts)
            made.model.eval()
            vectors = torch.nn.functional.normalize(made.model.encoder(*texts[:2]))
        losses.append(len(vectors) * float(contrastive_loss(*views, batch.alike, temperature=0.05)))
        distances.append(len(vectors) * float(alignment(*views)))
        n += len(vectors)
        for i, one in enumerate(vectors):
            for j, other in enumerate(vectors):
                potentials += math.exp(-2 * float((one - other).square().sum())) if i != j else 0
                pairs += i != j
    assert told["val/contrastive"] == pytest.approx(sum(losses) / n, rel=1e-4)
    assert told["val/alignment"] == pytest.approx(sum(distances) / n, rel=1e-4)
    assert told["val/uniformity"] == pytest.approx(math.log(potentials / pairs), rel=1e-3)


def test_every_validation_of_the_same_weights_tells_the_same(movielens, tiny_encoder, tmp_path):
    made, run = fit(movielens, tiny_encoder, tmp_path)
    torch.manual_seed(5)
    again = run.validate(made, datamodule=run.datamodule, verbose=False)[0]
    assert again == {name: run.callback_metrics[name] for name in again}


def test_masks_and_dropout_follow_from_seed_and_step(movielens, tiny_encoder, tmp_path):
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(3)  # of the head's first weights
        runs.append(weights(fit(movielens, tiny_encoder, tmp_path, seed=seed)[0]))
    assert_equal_weights(runs[0], runs[1])
    assert not all(runs[0][name].equal(runs[2][name]) for name in runs[0])


def resumable(movielens, encoder, folder, **changes):
    """A Trainer, module and data of one seed, the head's first weights being drawn, too."""
    torch.manual_seed(0)
    run = trainer(folder, **({"max_epochs": 2, "limit_train_batches": 6, "limit_val_batches": 1} | changes))
    return run, module(encoder), data_module(movielens, encoder)


@pytest.mark.parametrize("stop", [4, 6])  # inside an epoch, at its end
def test_a_resumed_run_ends_with_the_weights_of_one_never_stopped(movielens, tiny_encoder, tmp_path, stop):
    kept = ModelCheckpoint(tmp_path, every_n_train_steps=stop, save_top_k=-1, filename="{step}")
    checkpoints = {"enable_checkpointing": True, "callbacks": [kept]}
    run, whole, data = resumable(movielens, tiny_encoder, tmp_path, **checkpoints)
    run.fit(whole, data)
    run, resumed, data = resumable(movielens, tiny_encoder, tmp_path)
    torch.manual_seed(9)
    run.fit(resumed, data, ckpt_path=tmp_path / f"step={stop}.ckpt", weights_only=True)
    assert_equal_weights(weights(whole), weights(resumed))


def test_what_a_run_shows(movielens, tiny_encoder, tmp_path):
    logger = TensorBoardLogger(tmp_path, default_hp_metric=False)
    run = trainer(tmp_path, callbacks=default_callbacks("pretrain"), logger=logger, log_every_n_steps=2, max_epochs=2,
                  limit_train_batches=4)  # fmt: skip
    _, run = fit(movielens, tiny_encoder, tmp_path, run=run)
    shown = EventAccumulator(run.log_dir)
    shown.Reload()
    assert set(shown.Tags()["scalars"]) >= {
        "train/loss", "train/mlm", "train/contrastive", "val/loss", "val/mlm", "val/perplexity", "val/contrastive",
        "val/alignment", "val/uniformity", "lr/encoder", "lr/head", "speed/texts_per_second", "speed/tokens_per_second",
        "speed/data_wait_share",
    }  # fmt: skip
    losses = [event.value for event in shown.Scalars("val/loss")]
    assert len(losses) == 2
    best = EventAccumulator(run.log_dir).Reload().Scalars("best_val/loss")[0].value
    assert best == pytest.approx(min(losses))


# -- the folder --------------------------------------------------------------------------------------------------------


def vectors_of(folder, titles):
    encoded = AutoTokenizer.from_pretrained(folder)(titles, padding=True, return_tensors="pt")
    return AutoModel.from_pretrained(folder).eval()(**encoded).last_hidden_state


def test_a_checkpoint_alone_gives_a_folder_that_transformers_and_model_encoder_path_can_load(
    movielens, tiny_encoder, tmp_path
):
    made, run = fit(movielens, tiny_encoder, tmp_path)
    run.save_checkpoint(tmp_path / "best.ckpt")
    PretrainModule.load_from_checkpoint(tmp_path / "best.ckpt").save_encoder(tmp_path / "encoder")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {f.name for f in (tmp_path / "encoder").iterdir()}
    assert json.loads((tmp_path / "encoder" / "config.json").read_text())["model_type"] == "bert"
    assert_equal_weights(
        {name: value for name, value in weights(load_model(str(tmp_path / "encoder"))).items() if "pooler" not in name},
        weights(made.model.encoder.model),
    )
    titles = ["heat", "alien"]
    assert not vectors_of(tmp_path / "encoder", titles).allclose(vectors_of(tiny_encoder, titles), atol=1e-2)
    recall = RecallModule(EncoderConfig(str(tmp_path / "encoder"), frozen_layers=-1))
    trainer(tmp_path).fit(recall, data_module(movielens, tmp_path / "encoder", RecallDataModule))


def test_the_folder_holds_what_adapters_learned(movielens, tiny_encoder, tmp_path):
    pytest.importorskip("peft", reason="the extra `lora` isn't installed")
    made, run = fit(movielens, tiny_encoder, tmp_path, encoder={"lora_rank": 2})
    run.save_checkpoint(tmp_path / "best.ckpt")
    loaded = PretrainModule.load_from_checkpoint(tmp_path / "best.ckpt")
    loaded.save_encoder(tmp_path / "encoder")
    assert_equal_weights(weights(loaded), weights(made))  # whose adapters are still its own
    folder = load_model(str(tmp_path / "encoder"))
    assert not [name for name, _ in folder.named_parameters() if "lora" in name]
    batch = next(iter(run.datamodule.val_dataloader())).tokens
    apart = made.eval().model.encoder(batch.ids, batch.mask)
    merged = EncoderConfig("").text_encoder(folder.eval())(batch.ids, batch.mask)
    torch.testing.assert_close(merged, apart, atol=1e-5, rtol=1e-5)


def test_a_head_that_the_checkpoint_has_is_kept_and_one_it_lacks_is_made(tiny_encoder, tmp_path, caplog):
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(BertConfig.from_pretrained(tiny_encoder))
    model.save_pretrained(tmp_path)
    with caplog.at_level("INFO", "recall_lightning"):
        kept = load_model(str(tmp_path), masked_language=True)
        assert not caplog.messages
        made = load_model(str(tiny_encoder), masked_language=True)
        assert caplog.messages == [f"{tiny_encoder} has no masked-language head: it starts anew"]
    assert_equal_weights(weights(kept), weights(model))
    embeddings = made.get_input_embeddings().weight
    assert embeddings.equal(load_model(str(tiny_encoder)).get_input_embeddings().weight)
    assert made.get_output_embeddings().weight is embeddings


def test_weights_that_an_encoder_lacks_are_told(tiny_encoder, tmp_path, caplog):
    model = AutoModel.from_config(BertConfig.from_pretrained(tiny_encoder, num_hidden_layers=1))
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"num_hidden_layers": 2}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with caplog.at_level("WARNING", "recall_lightning"):
        load_model(str(tmp_path))
    assert "lacks 16 of the encoder's weights, such as encoder.layer.1." in caplog.text


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"mlm_weight": -1.0}, r"^model\.mlm_weight is -1\.0: give a number from 0 up$"),
        ({"contrastive_weight": math.nan}, r"^model\.contrastive_weight is nan: give a number from 0 up$"),
        ({"mlm_weight": 0.0, "contrastive_weight": 0.0}, r"weight are 0: give one of them a number above 0$"),
        ({"mask_probability": 0.0}, r"^model\.mask_probability is 0\.0: give more than 0 and less than 1$"),
        ({"temperature": 0.0}, r"^model\.temperature is 0\.0: give a number above 0, such as 0\.05$"),
        ({"encoder": {"frozen_layers": -1}}, r"^model\.encoder\.frozen_layers is -1, .* pretrained: give 0$"),
        ({"encoder": {"dropout": 0.0}},
         r"^model\.encoder\.dropout is 0: .*Give model\.encoder\.dropout: 0\.1, or model\.contrastive_weight: 0$"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_meant_names_its_key(tiny_encoder, settings, told):
    with pytest.raises(InputError, match=told):
        module(tiny_encoder, **settings)


def test_an_encoder_that_has_no_dropout_of_its_own_is_told_from_one_that_has(movielens, tiny_encoder, tmp_path):
    without = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    AutoModel.from_config(BertConfig.from_pretrained(tiny_encoder, **without)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(tmp_path)
    with pytest.raises(
        InputError, match=r"^model\.encoder\.dropout is null, and the encoder .* has none: .*: 0\.1, or"
    ):
        fit(movielens, tmp_path, tmp_path)
    fit(movielens, tmp_path, tmp_path, encoder={"dropout": 0.1})
    fit(movielens, tmp_path, tmp_path, contrastive_weight=0.0)


def test_an_architecture_without_a_masked_language_head_is_told(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(
        InputError, match=r"^model\.encoder\.path: .* gpt2, for which .* no masked-language head.*_weight: 0$"
    ):
        load_model(str(tmp_path), masked_language=True)


def test_a_tokenizer_without_a_mask_token_is_told(movielens, tiny_encoder, tmp_path):
    data = data_module(movielens, tiny_encoder)
    data.setup()
    data.tokenizer.mask_token = None
    with pytest.raises(InputError, match=r"^model\.encoder\.path: the tokenizer of .* no mask token.*mlm_weight: 0$"):
        trainer(tmp_path).fit(module(tiny_encoder), data)


def test_a_batch_of_one_text_has_nothing_to_be_told_from(movielens, tiny_encoder, tmp_path):
    for key in ("batch_size", "eval_batch_size"):
        with pytest.raises(InputError, match=r"^data\.batch_size or data\.eval_batch_size is 1, .*: give 2 or more$"):
            fit(movielens, tiny_encoder, tmp_path, {key: 1})
    fit(movielens, tiny_encoder, tmp_path, {"batch_size": 1}, contrastive_weight=0.0)


def test_a_validation_without_a_masked_token_is_told(movielens, tiny_encoder, tmp_path):
    with pytest.raises(
        InputError, match=r"^data\.validation_share is 0\.1: .* no token was masked\. Raise it, or model"
    ):
        fit(movielens, tiny_encoder, tmp_path, mask_probability=1e-9)


def test_data_of_users_is_refused(movielens, tiny_encoder, tmp_path):
    with pytest.raises(InputError, match=r"^PretrainModule learns from texts: give it a PretrainDataModule"):
        trainer(tmp_path).fit(module(tiny_encoder), data_module(movielens, tiny_encoder, RecallDataModule))


def test_a_checkpoint_of_one_method_is_not_taken_for_one_of_another(movielens, tiny_encoder, tmp_path, start):
    _, run = fit(movielens, tiny_encoder, tmp_path)
    run.save_checkpoint(tmp_path / "best.ckpt")
    for load in (load_module, RecallModule.load_from_checkpoint):
        with pytest.raises(InputError, match=r"best\.ckpt: a pretrained encoder .* `fit --config .*encoder`, and give"):
            load(tmp_path / "best.ckpt")
    with pytest.raises(InputError, match=r"start\.ckpt: not a checkpoint of `method: pretrain`"):
        PretrainModule.load_from_checkpoint(start)
