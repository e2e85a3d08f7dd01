"""RecallModule in a Trainer, on MovieLens-100K with a tiny encoder."""

import shutil

import lightning as L
import pytest
import torch
from forked import SERVER
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from recall_lightning import (
    L2,
    L2SP,
    AttentionTower,
    BinaryRecallLoss,
    InputError,
    ItemTower,
    MeanTower,
    MovieLens,
    RecallDataModule,
    RecallLoss,
    RecallModule,
    TextTower,
    TransformerTower,
    Uniformity,
)
from recall_lightning.modules.encoder_config import EncoderConfig
from recall_lightning.modules.optimizers import OptimizerConfig


def data_module(movielens, tiny_encoder, **changes):
    settings = {
        "batch_size": 16, "max_history": 10, "max_text_tokens": 24, "max_encoded_items": 32, "ties": "shuffle",
    } | changes  # fmt: skip
    return RecallDataModule(MovieLens(str(movielens)), "{title}. {genres}", str(tiny_encoder), **settings)


def module(tiny_encoder, **changes):
    settings = {
        "user_tower": TransformerTower(layers=1, heads=2, dropout=0.2), "item_tower": ItemTower(dim=16, residual=True),
        "candidates": "catalogue",
    } | changes  # fmt: skip
    encoder = EncoderConfig(str(tiny_encoder), **settings.pop("encoder", {}))
    return RecallModule(encoder, **settings)


def trainer(tmp_path, **changes):
    settings = {
        "max_epochs": 2, "limit_train_batches": 4, "limit_val_batches": 1, "logger": False, "accelerator": "cpu",
        "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False,
        "num_sanity_val_steps": 0, "gradient_clip_val": 1.0, "use_distributed_sampler": False,
        "default_root_dir": tmp_path,
    } | changes  # fmt: skip
    return L.Trainer(**settings)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)}


def assert_equal_weights(one, other):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(
            one[name], other[name], rtol=0, atol=0, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize(
    ("tower", "model", "data"),
    [
        (TransformerTower(1, 2), {"candidates": "catalogue"}, {}),
        (TransformerTower(1, 2), {"candidates": "batch"}, {"n_negatives": 20}),
        (TransformerTower(1, 2), {"candidates": "batch"}, {"max_encoded_items": None}),
        (MeanTower(3), {"candidates": "batch"}, {}),
        (AttentionTower(), {"loss": BinaryRecallLoss()}, {}),
        (TextTower(), {"candidates": "batch"}, {"history_tokens": 48}),
        (TransformerTower(1, 2), {"loss": RecallLoss(learn_temperature=True, regularizers=[L2(0.1), L2SP(0.1)])}, {}),
        (TransformerTower(1, 2), {"prior": True}, {}),
        (TransformerTower(1, 2), {"prior": True, "transitions": True}, {}),
        (MeanTower(), {"transitions": True, "loss": BinaryRecallLoss()}, {}),
        (MeanTower(), {"neighbours": True, "loss": BinaryRecallLoss()}, {}),
        (MeanTower(), {"neighbours": True, "transitions": True, "candidates": "batch"}, {"n_negatives": 9}),
        (TransformerTower(1, 2), {"prior": True, "transitions": True, "neighbours": True}, {}),
        (TransformerTower(1, 2), {"encoder": {"frozen_layers": -1}}, {}),
        (TransformerTower(1, 2), {"encoder": {"frozen_layers": 1, "pooling": "cls"}}, {}),
    ],
)
def test_every_tower_loss_and_choice_of_candidates_trains_each_of_its_weights(
    movielens, tiny_encoder, tmp_path, tower, model, data
):
    recall = module(tiny_encoder, user_tower=tower, **model)
    moved = trainer(tmp_path, max_epochs=1)
    data = data_module(movielens, tiny_encoder, **data)
    data.setup()
    recall.trainer = moved
    moved.datamodule = data
    recall.setup("fit")
    before = weights(recall)
    moved.fit(recall, data)
    after = weights(recall)
    trained = {name for name, p in recall.named_parameters() if p.requires_grad}
    still = {name for name in trained if torch.equal(before[name], after[name])}
    # a key's bias adds the same to all scores of a softmax: its gradient is 0 by nature, and rounding decides
    assert not {name for name in still if "key.bias" not in name}
    assert all(torch.equal(before[name], after[name]) for name in before.keys() - trained if "cache" not in name)


def test_what_training_sees_is_learned(movielens, tiny_encoder, tmp_path):
    recall = module(
        tiny_encoder, candidates="catalogue", loss=RecallLoss(temperature=0.1),
        optimizer=OptimizerConfig(encoder_lr=1e-3, tower_lr=1e-2),
    )  # fmt: skip
    run = trainer(tmp_path, max_epochs=3, limit_train_batches=30, limit_val_batches=1.0)
    run.fit(recall, data_module(movielens, tiny_encoder, batch_size=32))
    # 1,682 items at random: .006
    assert run.callback_metrics["val/recall@10"] > 0.04


def test_validation_metrics_are_those_of_ranking_every_item_by_hand(movielens, tiny_encoder, tmp_path):
    data, recall = data_module(movielens, tiny_encoder), module(tiny_encoder)
    run = trainer(tmp_path, limit_val_batches=1.0)
    run.fit(recall, data)
    run.validate(recall, data, verbose=False)
    recall.eval()
    hits = []
    with torch.no_grad():
        items = recall.model.catalogue_vectors()
        for case in range(0, len(data.split.validation), 9):
            rows = data.split.validation.history[case]
            target = int(data.interactions.items[data.split.validation.targets[case, 0]])
            met = data.interactions.items[rows[0] : rows[1]]
            user = recall.model.users(items, torch.from_numpy(met[-10:])[None])[0, -1]
            scores = nn.functional.cosine_similarity(user[None], items)
            better = [i for i in range(len(items)) if i not in set(met) and i != target and scores[i] >= scores[target]]
            hits.append(len(better) < 50)
    by_ninth = sum(hits) / len(hits)
    every = data.split.validation
    assert len(every) == 943
    recall.val_metrics.reset()
    cases = list(range(0, 943, 9))
    from recall_lightning.data.batches import EvalCollator

    recall.item_vectors = items
    recall.validation_step(EvalCollator(every, data.tokens, 10, None)(cases), 0)
    assert float(recall.val_metrics.compute()["recall@50"]) == pytest.approx(by_ninth)


@pytest.mark.parametrize(
    ("num_workers", "more"), [(0, {}), (2, {}), (0, {"prior": True}), (0, {"transitions": True, "neighbours": True})]
)
def test_a_run_resumed_after_an_epoch_ends_with_the_weights_of_one_never_stopped(
    movielens, tiny_encoder, tmp_path, num_workers, more
):
    class StopAfterSecondEpoch(L.Callback):
        def on_train_epoch_end(self, trainer, *_):
            trainer.should_stop = trainer.current_epoch == 1

    def make(folder, *callbacks):
        torch.manual_seed(5)
        keep = ModelCheckpoint(tmp_path / folder, filename="{epoch}", save_top_k=-1)
        run = trainer(tmp_path, max_epochs=3, callbacks=[keep, *callbacks], enable_checkpointing=True)
        return run, module(tiny_encoder, **more), data_module(movielens, tiny_encoder, num_workers=num_workers)

    run, whole, data = make("whole")
    run.fit(whole, data)
    run, first, data = make("first", StopAfterSecondEpoch())
    run.fit(first, data)
    assert run.current_epoch == 2
    run, resumed, data = make("resumed")
    torch.manual_seed(99)  # what a new process starts with must not matter
    run.fit(resumed, data, ckpt_path=tmp_path / "first" / "epoch=1.ckpt", weights_only=True)
    assert_equal_weights(weights(whole), weights(resumed))


def test_a_run_stopped_inside_an_epoch_goes_on_at_the_next_batch(movielens, tiny_encoder, tmp_path):
    class StopAfter(L.Callback):
        def __init__(self, steps):
            self.steps = steps

        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == self.steps:
                trainer.save_checkpoint(tmp_path / "inside.ckpt")
                raise KeyboardInterrupt

    def make(*callbacks):
        torch.manual_seed(5)
        run = trainer(tmp_path, limit_train_batches=1.0, callbacks=list(callbacks))
        return run, module(tiny_encoder), data_module(movielens, tiny_encoder, batch_size=512)

    run, whole, data = make()
    run.fit(whole, data)
    run, first, data = make(StopAfter(23))  # the third batch of the second epoch
    with pytest.raises(SystemExit):
        run.fit(first, data)
    run, resumed, data = make()
    run.fit(resumed, data, ckpt_path=tmp_path / "inside.ckpt", weights_only=True)
    assert run.global_step == 40
    assert_equal_weights(weights(whole), weights(resumed))


def test_a_checkpoint_needs_neither_the_encoder_nor_the_data_it_was_trained_with(movielens, tiny_encoder, tmp_path):
    encoder, source = tmp_path / "encoder", tmp_path / "data"
    shutil.copytree(tiny_encoder, encoder)
    shutil.copytree(movielens, source)
    recall = module(encoder)
    run = trainer(tmp_path, max_epochs=1)
    run.fit(recall, data_module(source, encoder))
    run.save_checkpoint(tmp_path / "model.ckpt")
    shutil.rmtree(encoder)
    shutil.rmtree(source)
    loaded = RecallModule.load_from_checkpoint(tmp_path / "model.ckpt")
    assert_equal_weights(weights(recall), weights(loaded))
    assert loaded.background.catalogue.texts[:1] == ["Toy Story. Animation, Children's, Comedy"]
    assert str(tmp_path) not in str(torch.load(tmp_path / "model.ckpt", weights_only=True)["recall_lightning"])


def test_nothing_of_the_validation_and_test_targets_is_in_a_training_batch(movielens, tiny_encoder):
    data = data_module(movielens, tiny_encoder, batch_size=256, max_history=1000)
    data.setup()
    held = {
        (int(user), int(data.interactions.items[target]))
        for cases in (data.split.validation, data.split.test)
        for user, (target, _) in zip(cases.users, cases.targets, strict=True)
    }
    assert len(held) == 1886
    for batch in data.train_dataloader():
        met = {
            (int(user), int(row))
            for user, rows in zip(_users(data, batch), batch.known.tolist(), strict=True)
            for row in rows
            if row >= 0
        }
        seen = {
            (int(user), int(batch.items[local]))
            for user, rows in zip(
                _users(data, batch), torch.cat([batch.history, batch.targets], 1).tolist(), strict=True
            )
            for local in rows
            if local >= 0
        }
        assert not held & (met | seen)
        assert seen <= met


def _users(data, batch):
    """Whose sequence each row is: known holds exactly the user's training items."""
    by_items = {tuple(data.split.train.history(u).tolist()): u for u in range(data.split.train.n_users)}
    return [by_items[tuple(row for row in rows if row >= 0)] for rows in batch.known.tolist()]


def test_a_text_tower_without_joined_texts_is_told_the_key_to_set(movielens, tiny_encoder, tmp_path):
    with pytest.raises(InputError, match=r"data\.history_tokens is None: .*TextTower.* such as 128"):
        trainer(tmp_path).fit(module(tiny_encoder, user_tower=TextTower()), data_module(movielens, tiny_encoder))


def test_a_prior_needs_a_tower_that_reads_item_vectors(tiny_encoder):
    with pytest.raises(InputError, match=r"^model\.prior is true, but the user tower reads text: choose another"):
        module(tiny_encoder, user_tower=TextTower(), prior=True)


@pytest.mark.parametrize("part", ["transitions", "neighbours"])
def test_what_is_counted_needs_a_tower_that_reads_item_vectors(tiny_encoder, part):
    with pytest.raises(InputError, match=rf"^model\.{part} is true, but the user tower reads text: choose another"):
        module(tiny_encoder, **{part: True}, user_tower=TextTower())


def test_words_need_a_tower_that_reads_item_vectors(tiny_encoder):
    with pytest.raises(
        InputError, match=r"^model\.item_tower\.init_args\.words is given, but the user tower reads text"
    ):
        module(tiny_encoder, user_tower=TextTower(), item_tower=ItemTower(words=2))


def test_what_regularizers_look_at_is_not_how_popular_items_are(movielens, tiny_encoder, tmp_path):
    seen = []

    class Seen(Uniformity):
        def penalty(self, items, parameters):
            seen.append(items.shape[1])
            return super().penalty(items, parameters)

    recall = module(tiny_encoder, prior=True, loss=RecallLoss(regularizers=[Seen(0.1)]))
    trainer(tmp_path, max_epochs=1, limit_train_batches=2).fit(recall, data_module(movielens, tiny_encoder))
    assert (seen, recall.item_vectors.shape[1]) == ([16, 16], 24)


def test_a_truncated_checkpoint_and_a_foreign_one_are_refused(tmp_path):
    (tmp_path / "cut.ckpt").write_bytes(b"PK\x03\x04 cut")
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    for name, message in [("cut", "no readable checkpoint"), ("foreign", "not a checkpoint of recall-lightning"),
                          ("missing", "no such checkpoint")]:  # fmt: skip
        with pytest.raises(InputError, match=rf"{name}\.ckpt: {message}"):
            RecallModule.load_from_checkpoint(tmp_path / f"{name}.ckpt")


def by_server():
    """As `ddp_spawn`: each process is given module and data anew. The imports alone are shared."""
    return DDPStrategy(start_method=SERVER.get_start_method())


def test_two_processes_train_and_report_what_one_reports(movielens, tiny_encoder, tmp_path):
    torch.manual_seed(5)
    recall, data = module(tiny_encoder), data_module(movielens, tiny_encoder)
    one = trainer(tmp_path, max_epochs=1, limit_val_batches=1.0)
    one.fit(recall, data)
    one.save_checkpoint(tmp_path / "model.ckpt")
    alone = one.validate(recall, data, verbose=False)[0]
    two = trainer(tmp_path, strategy=by_server(), devices=2, max_epochs=1, limit_val_batches=1.0)
    loaded = RecallModule.load_from_checkpoint(tmp_path / "model.ckpt")
    together = two.validate(loaded, data_module(movielens, tiny_encoder), verbose=False)[0]
    assert together == pytest.approx(alone, abs=1e-6)
    two = trainer(tmp_path, strategy=by_server(), devices=2, max_epochs=1, limit_train_batches=2)
    two.fit(module(tiny_encoder), data_module(movielens, tiny_encoder))
    assert two.callback_metrics["val/recall@10"] >= 0
