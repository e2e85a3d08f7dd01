"""MAMLRecallModule in a Trainer, on a slice of MovieLens-100K with a tiny encoder."""

import logging
import shutil

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from meta_runs import Losses, assert_equal_weights, attached, data_module, maml, trainer, weights

from recall_lightning import (
    Dot,
    InputError,
    MeanTower,
    RecallLoss,
    RecallModule,
)
from recall_lightning.data.batches import TrainBatch
from recall_lightning.meta.fast_weights import LinearHead, UserVector, WholeTower
from recall_lightning.modules.inner_loop_config import InnerLoopConfig
from recall_lightning.modules.loading import load_module
from recall_lightning.modules.maml import MAMLRecallModule

# -- training ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fast", "model"),
    [
        (UserVector(), {"candidates": "catalogue"}),
        (UserVector(), {"candidates": "batch", "inner_loop": InnerLoopConfig(steps=2, learned_rates="element")}),
        (LinearHead(), {"candidates": "batch"}),
        (LinearHead(), {"inner_loop": InnerLoopConfig(steps=2, rate=0.1, first_order=True)}),
        (WholeTower(), {"inner_loop": InnerLoopConfig(steps=2, rate=0.1, per_step=False)}),
        (UserVector(), {"encoder": {"frozen_layers": -1}, "inner_loop": InnerLoopConfig(query_loss="last")}),
        (UserVector(), {"transitions": True, "prior": True}),
        (UserVector(), {"transitions": True, "neighbours": True}),
        (UserVector(), {"inner_loop": InnerLoopConfig(learned_rates="no"), "user_tower": MeanTower()}),
    ],
)
def test_every_kind_of_fast_weights_learns_each_of_the_weights_it_starts_from(
    movielens, tiny_encoder, tmp_path, fast, model
):
    data = data_module(movielens, tiny_encoder, n_negatives=10)
    meta = attached(maml(tiny_encoder, fast_weights=fast, **model), data, tmp_path)
    before = weights(meta)
    trainer(tmp_path, limit_val_batches=0).fit(meta, data)
    learned = {name for name, p in meta.named_parameters() if p.requires_grad}
    if meta.inner_loop.first_order:
        learned.remove("fast_weights.nobody")  # only a step looks at it, and the first order not at steps
    after = weights(meta)
    # a bias of keys adds the same to all scores of a softmax: its gradient is 0 by nature, and rounding decides
    still = {name for name in learned if before[name].equal(after[name]) and "key.bias" not in name}
    assert not still
    assert not {name for name in before.keys() - learned if "cache" not in name and not before[name].equal(after[name])}
    assert any(name.startswith("rates.") for name in learned) == (meta.inner_loop.learned_rates != "no")
    assert any(name.startswith("fast_weights.") for name in learned) == (not isinstance(fast, WholeTower))


def test_meta_training_lessens_the_loss_of_the_queries(movielens, tiny_encoder, tmp_path, start):
    seen = Losses()
    run = trainer(tmp_path, max_epochs=2, limit_train_batches=20, limit_val_batches=1.0, callbacks=[seen])
    run.fit(maml(tiny_encoder, init_from=str(start)), data_module(movielens, tiny_encoder))
    first, last = (torch.tensor(part).mean(0) for part in (seen.query[:5], seen.query[-5:]))
    assert (last < first - 0.15).all()
    assert (len(seen.support[0]), len(seen.query[0])) == (6, 5)
    assert all(sorted(losses, reverse=True) == losses for losses in seen.support)  # each step lessens it
    # of 118 films at random: .09
    assert run.callback_metrics["val/recall@10"] > 0.15
    assert run.callback_metrics["val_support_4/gain_recall@10"] == pytest.approx(
        float(run.callback_metrics["val_support_4/recall@10"])
        - float(run.callback_metrics["val_support_4/unadapted_recall@10"])
    )


def fitted(movielens, encoder, tmp_path, start, **changes):
    """Weights and losses after three steps without dropout from the same start."""
    torch.manual_seed(7)
    seen, meta = Losses(), maml(encoder, init_from=str(start), encoder={"dropout": 0.0}, **changes)
    for part in (meta, meta._start[0]):
        part._towers[1].dropout = 0.0
    trainer(tmp_path, limit_val_batches=0, callbacks=[seen]).fit(meta, data_module(movielens, encoder, batch_size=8))
    return weights(meta), seen.losses


def test_the_first_order_is_another_one(movielens, tiny_encoder, tmp_path, start):
    first, second = (
        fitted(movielens, tiny_encoder, tmp_path, start, inner_loop=InnerLoopConfig(steps=3, first_order=order))
        for order in (True, False)
    )
    assert first[1][0] == second[1][0]  # the loss is the same, its gradient isn't
    assert first[1][1] != second[1][1]
    assert not first[0]["rates.values.0"].equal(second[0]["rates.values.0"])


@pytest.mark.parametrize(
    ("fast", "settings"),
    [
        (UserVector, {}), (UserVector, {"learned_rates": "element"}),
        (LinearHead, {"rate": 0.1, "learned_rates": "no"}), (WholeTower, {"rate": 0.1, "steps": 2}),
    ],
)  # fmt: skip
def test_learn2learn_trains_to_the_same_losses(movielens, tiny_encoder, tmp_path, start, fast, settings):
    pytest.importorskip("learn2learn")
    (_, ours), (_, theirs) = (
        fitted(
            movielens, tiny_encoder, tmp_path, start, fast_weights=fast(),
            inner_loop=InnerLoopConfig(**({"steps": 3, "engine": engine} | settings)),
        )
        for engine in ("batched", "learn2learn")
    )  # fmt: skip
    assert len(set(ours)) == 3
    assert ours == pytest.approx(theirs, abs=1e-5)


def test_a_support_is_known_to_both_loops_and_a_query_to_the_outer_one_alone(
    movielens, tiny_encoder, tmp_path, monkeypatch
):
    data = data_module(movielens, tiny_encoder)
    meta, given = attached(maml(tiny_encoder, inner_loop=InnerLoopConfig(steps=1)), data, tmp_path), []
    real = RecallLoss.nll

    def listening(self, users, items, targets, log_q=None, known=None, **more):
        given.append((more.get("each", False), known))
        return real(self, users, items, targets, log_q, known, **more)

    monkeypatch.setattr(RecallLoss, "nll", listening)
    batch: TrainBatch = next(iter(data.train_dataloader()))
    meta.refresh_cache()
    meta.log = meta.log_dict = lambda *_, **__: None
    meta.training_step(batch, 0)
    for inner, known in given:
        for user in range(len(batch.history)):
            told, asked = (part[user][part[user] >= 0] for part in (batch.history, batch.targets))
            marked = set(known[user].nonzero()[:, 0].tolist())
            if inner:
                assert marked == set(batch.items[told].tolist())
            else:
                assert marked == {row for row in batch.known[user].tolist() if row >= 0}
                assert marked >= set(batch.items[torch.cat([told, asked])].tolist())
    assert [inner for inner, _ in given] == [True, True, False]


# -- evaluation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inference_mode", [True, False])
def test_a_validation_adapts_without_a_trace_on_the_weights(movielens, tiny_encoder, tmp_path, trained, inference_mode):
    path, told, _ = trained
    meta = load_module(path)
    before = weights(meta)
    run = trainer(tmp_path, limit_val_batches=1.0, inference_mode=inference_mode)
    found, *_ = run.validate(meta, data_module(movielens, tiny_encoder), verbose=False)
    assert_equal_weights(before, weights(meta))
    assert all(p.grad is None for p in meta.parameters())
    assert found == {name: pytest.approx(told[name], abs=1e-6) for name in found}
    assert found["val_support_4/recall@10"] != found["val_support_4/unadapted_recall@10"]
    by_support = [found[f"val_support_{k}/recall@50"] for k in (1, 4)]
    assert found["val/recall@50"] == pytest.approx(sum(by_support) / 2, abs=0.02)  # fewer users have more than four


def test_a_test_tells_the_same_by_number_of_support_interactions(movielens, tiny_encoder, tmp_path, trained):
    found, *_ = trainer(tmp_path).test(load_module(trained[0]), data_module(movielens, tiny_encoder), verbose=False)
    kinds = ("", "unadapted_", "gain_")
    names = [f"{kind}{name}@{k}" for kind in kinds for name in ("recall", "ndcg") for k in (10, 50)]
    assert {f"test_support_{k}/{name}" for k in (1, 4) for name in names} < found.keys()
    for k in (1, 4):
        adapted, unadapted, gain = (found[f"test_support_{k}/{kind}ndcg@10"] for kind in kinds)
        assert gain == pytest.approx(adapted - unadapted, abs=1e-6)


def diverging(temperature):
    """Settings of steps that are too large by far."""
    return {"loss": RecallLoss(Dot(), temperature), "inner_loop": InnerLoopConfig(rate=1e30)}


def test_an_inner_loop_that_diverges_in_training_is_told_with_its_cure(movielens, tiny_encoder, tmp_path):
    told = (
        r"^model\.inner_loop: the query loss is (nan|inf) at step \d, .*Lower model\.inner_loop\.rate, now 1e\+30, or"
    )
    with pytest.raises(InputError, match=told):
        trainer(tmp_path).fit(maml(tiny_encoder, **diverging(1e-3)), data_module(movielens, tiny_encoder))


def test_users_whose_inner_loop_diverges_get_the_unadapted_answer_and_are_counted(
    movielens, tiny_encoder, tmp_path, caplog
):
    # so warm that no softmax is sure of its target, who would then take no step
    meta, data = maml(tiny_encoder, **diverging(1.0)), data_module(movielens, tiny_encoder)
    with caplog.at_level(logging.INFO, logger="recall_lightning"):
        found, *_ = trainer(tmp_path, limit_val_batches=1.0).validate(meta, data, verbose=False)
    assert meta.diverged == sum(len(cases) for cases, _ in data.by_support.values())
    assert f"{meta.diverged} users got the unadapted answer: their inner loop diverged" in caplog.messages
    for k in (1, 4):
        assert found[f"val_support_{k}/gain_recall@10"] == 0
        assert found[f"val_support_{k}/recall@10"] == found[f"val_support_{k}/unadapted_recall@10"] > 0


# -- checkpoints -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [UserVector, LinearHead, WholeTower])
def test_a_checkpoint_brings_back_fast_weights_step_sizes_and_settings(movielens, tiny_encoder, tmp_path, start, fast):
    inner = InnerLoopConfig(steps=2, rate=0.25, learned_rates="element", query_loss="last")
    shutil.copy(start, tmp_path / "start.ckpt")
    run = trainer(tmp_path, limit_val_batches=0)
    meta = maml(tiny_encoder, init_from=str(tmp_path / "start.ckpt"), fast_weights=fast(), inner_loop=inner)
    run.fit(meta, data_module(movielens, tiny_encoder))
    run.save_checkpoint(tmp_path / "meta.ckpt")
    (tmp_path / "start.ckpt").unlink()
    torch.load(tmp_path / "meta.ckpt", weights_only=True)
    loaded = load_module(tmp_path / "meta.ckpt")
    assert isinstance(loaded, MAMLRecallModule)
    assert (loaded.inner_loop, type(loaded.fast_weights), loaded.training) == (inner, fast, False)
    assert_equal_weights(weights(meta), weights(loaded))
    items, history = torch.randn(118, 16), torch.tensor([[-1, 3, 7], [1, 2, 3]])
    for one, other in zip(
        meta.eval().adaptation.serve(items, history), loaded.adaptation.serve(items, history), strict=True
    ):
        assert one.equal(other)


def test_each_kind_of_checkpoint_is_loaded_as_what_it_is(start, trained):
    assert type(load_module(start)) is RecallModule
    assert type(load_module(trained[0])) is MAMLRecallModule
    with pytest.raises(InputError, match=r"meta\.ckpt: the checkpoint was meta-trained"):
        RecallModule.load_from_checkpoint(trained[0])
    with pytest.raises(InputError, match=r"start\.ckpt: the checkpoint was not meta-trained.*`method: maml`"):
        MAMLRecallModule.load_from_checkpoint(start)


@pytest.mark.parametrize(
    ("num_workers", "steps"), [(0, 3), (2, 3), (0, 4), (2, 4)]
)  # at an epoch's end, and inside one
def test_a_resumed_run_ends_with_the_weights_of_one_never_stopped(
    movielens, tiny_encoder, tmp_path, start, num_workers, steps
):
    class Stop(L.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 4 == steps:
                trainer.save_checkpoint(tmp_path / "kept.ckpt")
                raise KeyboardInterrupt

        def on_train_epoch_end(self, trainer, *_):
            trainer.should_stop = trainer.global_step == 3 == steps

    def make(*callbacks, enable_checkpointing=False):
        torch.manual_seed(5)
        run = trainer(
            tmp_path, max_epochs=2, limit_train_batches=1.0, limit_val_batches=0, callbacks=list(callbacks),
            enable_checkpointing=enable_checkpointing,
        )  # fmt: skip
        data = data_module(movielens, tiny_encoder, batch_size=256, num_workers=num_workers)
        return run, maml(tiny_encoder, init_from=str(start)), data

    run, whole, data = make()
    run.fit(whole, data)
    assert run.global_step == 6
    run, first, data = make(Stop(), ModelCheckpoint(tmp_path, filename="kept"), enable_checkpointing=True)
    if steps == 4:
        with pytest.raises(SystemExit):
            run.fit(first, data)
    else:
        run.fit(first, data)
    run, resumed, data = make()
    torch.manual_seed(99)  # what a new process starts with must not matter
    run.fit(resumed, data, ckpt_path=tmp_path / "kept.ckpt", weights_only=True)
    assert run.global_step == 6
    assert_equal_weights(weights(whole), weights(resumed))


def test_two_processes_report_what_one_reports(movielens, tiny_encoder, tmp_path, trained):
    path, told, _ = trained
    run = trainer(tmp_path, strategy="ddp_fork", devices=2, limit_val_batches=1.0)
    together, *_ = run.validate(load_module(path), data_module(movielens, tiny_encoder), verbose=False)
    assert together == {name: pytest.approx(told[name], abs=1e-6) for name in together}


def test_users_whose_inner_loop_diverges_are_counted_over_all_processes(movielens, tiny_encoder, tmp_path):
    class Told(L.Callback):
        def on_validation_end(self, trainer, module):
            (tmp_path / f"{trainer.global_rank}").write_text(str(module.diverged))

    run = trainer(tmp_path, strategy="ddp_fork", devices=2, limit_val_batches=1.0, callbacks=[Told()])
    data = data_module(movielens, tiny_encoder)
    run.validate(maml(tiny_encoder, **diverging(1.0)), data, verbose=False)
    data.setup()
    n_cases = sum(len(cases) for cases, _ in data.by_support.values())
    assert [(tmp_path / rank).read_text() for rank in "01"] == [str(n_cases)] * 2
