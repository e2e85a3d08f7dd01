"""Meta-training over a model with transitions: the inner loop leaves them alone, the outer one learns their weight."""

import pytest
import torch
from meta_runs import attached, data_module, maml, trainer, weights

from recall_lightning import InputError, ItemTower, RecallLoss, RecallModule, Recommender, TransformerTower
from recall_lightning.coldstart.learner import Learner
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.models.top_k import RankedItems
from recall_lightning.modules.encoder_config import EncoderConfig
from recall_lightning.modules.loading import load_module


@pytest.fixture(scope="module")
def base(movielens, tiny_encoder, tmp_path_factory):
    """The checkpoint of a RecallModule with transitions."""
    folder = tmp_path_factory.mktemp("base")
    recall = RecallModule(
        EncoderConfig(str(tiny_encoder)), TransformerTower(1, 2), ItemTower(16, residual_dropout=0.0),
        candidates="catalogue", transitions=True, prior=True,
    )  # fmt: skip
    run = trainer(folder)
    run.fit(recall, data_module(movielens, tiny_encoder, RecallDataModule))
    run.save_checkpoint(folder / "base.ckpt")
    return folder / "base.ckpt"


@pytest.fixture(scope="module")
def adapted(movielens, tiny_encoder, base, tmp_path_factory):
    """The checkpoint of what was meta-trained from it."""
    folder = tmp_path_factory.mktemp("adapted")
    run, meta = trainer(folder), maml(tiny_encoder, init_from=str(base))
    run.fit(meta, data_module(movielens, tiny_encoder))
    run.save_checkpoint(folder / "meta.ckpt")
    return folder / "meta.ckpt"


def of_transitions(module):
    return {name: part for name, part in weights(module).items() if "transitions" in name}


def test_transitions_start_as_those_of_init_from_and_the_outer_loop_learns_their_weight(
    movielens, tiny_encoder, base, adapted, tmp_path
):
    start = of_transitions(RecallModule.load_from_checkpoint(base))
    fresh = attached(maml(tiny_encoder, init_from=str(base)), data_module(movielens, tiny_encoder), tmp_path)
    assert start.keys() == of_transitions(fresh).keys() == of_transitions(load_module(adapted)).keys()
    assert start
    for name, part in start.items():
        assert of_transitions(fresh)[name].equal(part)
        assert not of_transitions(load_module(adapted))[name].equal(part)


def test_they_count_for_what_is_asked_and_not_for_the_support_and_a_query_does_not_lift_itself(
    movielens, tiny_encoder, base, tmp_path, monkeypatch
):
    data = data_module(movielens, tiny_encoder)
    meta, given = attached(maml(tiny_encoder, init_from=str(base)), data, tmp_path), []
    real = RecallLoss.nll

    def listening(self, *parts, each=False, bonus=None):
        given.append((each, bonus))
        return real(self, *parts, each=each, bonus=bonus)

    monkeypatch.setattr(RecallLoss, "nll", listening)
    batch = next(iter(data.train_dataloader()))
    meta.refresh_cache()
    meta.log = meta.log_dict = lambda *_, **__: None
    meta.training_step(batch, 0)
    assert all(bonus is None for each, bonus in given if each)
    (told, asked), every = (
        [torch.where(rows >= 0, batch.items[rows.clamp(min=0)], -1) for rows in (batch.history, batch.targets)],
        torch.arange(len(batch.history)),
    )
    counted = [bonus for each, bonus in given if not each]
    assert len(counted) == meta.inner_loop.steps
    for bonus in counted:
        assert bonus.lifts[0](every).equal(meta.model.transitions(torch.zeros(32, 1, 16), told, asked).lifts[0](every))
    with_own = meta.model.transitions(torch.zeros(32, 1, 16), told).lifts[0](every)
    present = asked >= 0
    columns = asked.clamp(min=0)
    assert (counted[0].lifts[0](every).gather(1, columns) <= with_own.gather(1, columns))[present].all()
    assert (counted[0].lifts[0](every).gather(1, columns) < with_own.gather(1, columns))[present].any()


def test_items_that_a_step_takes_for_new_are_nothings_successor_in_it(movielens, tiny_encoder, tmp_path, monkeypatch):
    data = data_module(movielens, tiny_encoder)
    tower = ItemTower(16, residual=True, residual_dropout=0.5)
    meta = attached(maml(tiny_encoder, item_tower=tower, prior=True, transitions=True), data, tmp_path)
    given, real = [], RecallLoss.nll

    def listening(self, users, items, *parts, bonus=None, **more):
        given.append((items, bonus))
        return real(self, users, items, *parts, bonus=bonus, **more)

    monkeypatch.setattr(RecallLoss, "nll", listening)
    meta.model.item_tower.new_popularity.data.fill_(-77.0)  # by which they can be told
    meta.refresh_cache()
    meta.log = meta.log_dict = lambda *_, **__: None
    meta.train().training_step(next(iter(data.train_dataloader())), 0)
    items, bonus = given[-1]
    new = items[:, -2] < -0.3
    lifted = (bonus.lifts[0](torch.arange(bonus.n_positions)) != 0).any(0)
    assert 0.3 < new.float().mean() < 0.7
    assert not lifted[new].any()
    assert lifted[~new].float().mean() > 0.9


@pytest.mark.parametrize("meta_trained", [True, False])
def test_validation_prediction_the_experiment_and_the_recommender_rank_alike(
    movielens, tiny_encoder, base, adapted, meta_trained, tmp_path
):
    path = adapted if meta_trained else base
    module, data = load_module(path), data_module(movielens, tiny_encoder)
    data.setup()
    cases, _ = data.by_support[4]
    loader = data.val_dataloader()
    batch = next(batch for batch in loader if batch.history.shape[1] == 4)
    module.trainer = trainer(tmp_path)
    module.trainer.datamodule = data
    module.setup("validate")
    module.refresh_cache()
    module.item_vectors = module.model.catalogue_vectors()
    module.ranked = RankedItems(module.item_vectors, module.loss.similarity)
    scores = torch.cat([part for part, _ in module._scores(module.user_vectors(batch), batch)])

    meta = load_module(adapted)
    learner = Learner.of_meta(meta, data) if meta_trained else Learner.of_base(module, meta, data)
    ranks, _ = learner.ranks(cases, meta.inner_loop.steps)
    at = -1 if meta_trained else 0
    targets = torch.where(batch.targets >= 0, batch.targets, 0)
    own = scores.gather(1, targets)
    expected = (scores[:, None] >= own[..., None]).sum(-1) - 1  # itself
    assert ranks[at][: len(expected)][batch.targets >= 0].tolist() == expected[batch.targets >= 0].tolist()

    _, rows, predicted = module.predict_step(batch, 0)
    torch.testing.assert_close(predicted, scores.topk(50).values)
    assert scores.gather(1, rows).equal(predicted)

    recommender = Recommender.from_checkpoint(path)
    ids = recommender.trained.ids
    histories = {str(row): [ids[item] for item in told.tolist()] for row, told in enumerate(batch.history)}
    table = recommender.recommend(histories, k=5, adapt=meta_trained).table
    best = scores.topk(5)
    assert table["item_id"].to_pylist() == [ids[row] for row in best.indices.flatten().tolist()]
    assert table["score"].to_pylist() == pytest.approx(best.values.flatten().tolist(), abs=1e-4)


def test_transitions_that_the_start_lacks_can_not_be_asked_for(tiny_encoder, start):
    with pytest.raises(InputError, match=r"^model\.transitions is true, but .*start.ckpt \(model.init_from\) has no"):
        maml(tiny_encoder, init_from=str(start), transitions=True)
