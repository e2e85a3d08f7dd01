"""What MAMLRecallModule starts from: `init_from`, and settings that it refuses."""

import pytest
import torch
from meta_runs import assert_equal_weights, attached, data_module, maml, trainer, weights

from recall_lightning import (
    InputError,
    ItemTower,
    MeanTower,
    RecallDataModule,
    RecallLoss,
    RecallModule,
    TextTower,
    TransformerTower,
)
from recall_lightning.data.splits import Splits
from recall_lightning.meta.fast_weights import LinearHead, UserVector, WholeTower
from recall_lightning.modules.encoder_config import EncoderConfig
from recall_lightning.modules.inner_loop_config import InnerLoopConfig
from recall_lightning.modules.loading import load_module
from recall_lightning.modules.optimizers import OptimizerConfig

# -- init_from ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [UserVector, LinearHead, WholeTower])
def test_before_adaptation_users_are_exactly_those_of_the_module_it_starts_from(
    movielens, tiny_encoder, tmp_path, start, fast
):
    data = data_module(movielens, tiny_encoder)
    meta = attached(maml(tiny_encoder, init_from=str(start), fast_weights=fast()), data, tmp_path).eval()
    recall = RecallModule.load_from_checkpoint(start)
    meta.refresh_cache()
    attached(recall, data, tmp_path).refresh_cache()
    meta.item_vectors, recall.item_vectors = meta.model.catalogue_vectors(), recall.model.catalogue_vectors()
    assert meta.item_vectors.equal(recall.item_vectors)
    for batch in data.val_dataloader():
        (unadapted, *_, last), _ = meta.adaptation.serve(meta.item_vectors, batch.history)
        assert unadapted.equal(recall.user_vectors(batch))
        assert last.equal(meta.user_vectors(batch))
        assert not last.equal(unadapted) or batch.history.shape[1] == 1


def test_it_brings_weights_towers_and_loss(movielens, tiny_encoder, tmp_path, start):
    meta = attached(maml(tiny_encoder, init_from=str(start)), data_module(movielens, tiny_encoder), tmp_path)
    recall = RecallModule.load_from_checkpoint(start)
    for name in ("user_tower", "item_tower", "loss"):
        assert meta.hparams[name] == recall.hparams[name]
    brought, had = weights(meta), weights(recall)
    assert brought.keys() - had.keys() == {"fast_weights.adapted.values", "rates.values.0"}
    assert not {name for name in had if "cache" not in name and not had[name].equal(brought[name])}


@pytest.fixture(scope="module")
def with_adapters(movielens, tiny_encoder, tmp_path_factory):
    """The checkpoint of a RecallModule whose encoder learned by adapters, its weights being frozen."""
    pytest.importorskip("peft", reason="the extra `lora` isn't installed")
    folder = tmp_path_factory.mktemp("with-adapters")
    recall = RecallModule(
        EncoderConfig(str(tiny_encoder), lora_rank=3, frozen_layers=1), TransformerTower(1, 2), ItemTower(16),
        optimizer=OptimizerConfig(encoder_lr=1e-1, warmup=0.0, decay="none"),
    )  # fmt: skip
    run = trainer(folder)
    run.fit(recall, data_module(movielens, tiny_encoder, RecallDataModule))
    run.save_checkpoint(folder / "lora.ckpt")
    return folder / "lora.ckpt"


@pytest.mark.parametrize("encoder", [{}, {"lora_rank": 2}, {"frozen_layers": 1}, {"frozen_layers": -1}])
def test_a_start_with_adapters_is_one_with_the_weights_that_they_make_of_the_encoders(
    movielens, tiny_encoder, tmp_path, with_adapters, encoder
):
    data = data_module(movielens, tiny_encoder)
    meta = attached(maml(tiny_encoder, init_from=str(with_adapters), encoder=encoder), data, tmp_path)
    recall, plain = RecallModule.load_from_checkpoint(with_adapters), RecallModule(EncoderConfig(str(tiny_encoder)))
    attached(plain, data_module(movielens, tiny_encoder, RecallDataModule), tmp_path)
    vectors = []
    for module in (attached(recall, data, tmp_path), meta.eval(), plain.eval()):
        module.refresh_cache()
        vectors.append(module.model.cache.vectors)
    torch.testing.assert_close(vectors[1], vectors[0], atol=1e-5, rtol=1e-5)
    assert not vectors[2].allclose(vectors[0], atol=1e-2)  # the adapters count
    trained = {name for name, p in meta.model.encoder.named_parameters() if p.requires_grad}
    frozen = [name for name, p in meta.model.encoder.named_parameters() if not p.requires_grad]
    assert all("lora_" in name for name in trained) == ("lora_rank" in encoder or not trained)
    assert bool(trained) == (encoder.get("frozen_layers") != -1)
    assert bool(frozen) == bool(encoder)

    run = trainer(tmp_path, limit_val_batches=0)
    run.fit(meta.train(), data)
    run.save_checkpoint(tmp_path / "meta.ckpt")
    assert_equal_weights(weights(meta), weights(load_module(tmp_path / "meta.ckpt")))


def test_what_the_start_froze_is_trained_where_the_config_freezes_nothing(movielens, tiny_encoder, tmp_path):
    data = data_module(movielens, tiny_encoder, RecallDataModule)
    run, recall = trainer(tmp_path), RecallModule(EncoderConfig(str(tiny_encoder), frozen_layers=-1))
    run.fit(recall, data)
    run.save_checkpoint(tmp_path / "start.ckpt")
    meta = maml(tiny_encoder, init_from=str(tmp_path / "start.ckpt"))
    attached(meta, data_module(movielens, tiny_encoder), tmp_path)
    assert all(p.requires_grad for p in meta.model.encoder.parameters())


def test_texts_are_pooled_as_the_start_learned_it(tiny_encoder, start):
    with pytest.raises(InputError, match=r"^model\.encoder\.pooling is cls, but .*start\.ckpt .* mean: set it to that"):
        maml(tiny_encoder, init_from=str(start), encoder={"pooling": "cls"})


def test_a_prior_comes_with_the_start_or_not_at_all(movielens, tiny_encoder, tmp_path, start):
    with pytest.raises(InputError, match=r"^model\.prior is true, but .*start\.ckpt \(model\.init_from\) has none: "):
        maml(tiny_encoder, init_from=str(start), prior=True)
    run = trainer(tmp_path)
    recall = RecallModule(EncoderConfig(str(tiny_encoder)), TransformerTower(1, 2), ItemTower(16), prior=True)
    run.fit(recall, data_module(movielens, tiny_encoder, RecallDataModule))
    run.save_checkpoint(tmp_path / "prior.ckpt")
    data = data_module(movielens, tiny_encoder)
    meta = attached(maml(tiny_encoder, init_from=str(tmp_path / "prior.ckpt")), data, tmp_path)
    assert meta.hparams["prior"] is True
    assert meta.model.item_tower.popularity.equal(recall.model.item_tower.popularity)


@pytest.mark.parametrize(
    ("key", "given"),
    [("user_tower", MeanTower()), ("item_tower", ItemTower(16)), ("loss", RecallLoss())],
)  # fmt: skip
def test_others_than_it_brings_are_not_to_be_given_beside_it(tiny_encoder, start, key, given):
    with pytest.raises(
        InputError, match=rf"^model\.{key} is not that of .*start\.ckpt .*: leave the key out, or start"
    ):
        maml(tiny_encoder, init_from=str(start), **{key: given})


def test_a_config_may_name_the_parts_that_it_brings_again(tiny_encoder, start):
    meta = maml(tiny_encoder, init_from=str(start), item_tower=ItemTower(16, residual=True))
    assert meta.hparams["item_tower"] == RecallModule.load_from_checkpoint(start).hparams["item_tower"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": 1}, "trained on another training part than the config's split gives"),
        ({"splits": Splits("cold_users", share=0.2)}, "trained on another training part"),
        ({"min_users": 250}, "trained on another catalogue"),
    ],
)
def test_one_that_may_have_seen_held_out_users_is_refused(movielens, tiny_encoder, tmp_path, start, changes, told):
    with pytest.raises(InputError, match=rf"^model\.init_from .*start\.ckpt: {told}"):
        attached(maml(tiny_encoder, init_from=str(start)), data_module(movielens, tiny_encoder, **changes), tmp_path)


def test_towers_that_see_longer_histories_than_the_data_gives_are_refused(movielens, tiny_encoder, tmp_path, start):
    meta, data = maml(tiny_encoder, init_from=str(start)), data_module(movielens, tiny_encoder, max_history=6)
    with pytest.raises(InputError, match=r"^data\.max_history is 6, but .*start\.ckpt .* see 8 items: set it to that$"):
        attached(meta, data, tmp_path)


def test_one_that_is_meta_trained_already_is_refused(tiny_encoder, trained):
    with pytest.raises(InputError, match=r"meta\.ckpt: the checkpoint was meta-trained\. Give one .*`method: recall`"):
        maml(tiny_encoder, init_from=str(trained[0]))


def test_one_that_is_not_there_is_told(tiny_encoder):
    with pytest.raises(InputError, match=r"nowhere\.ckpt: no such checkpoint"):
        maml(tiny_encoder, init_from="nowhere.ckpt")


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"steps": 0}, r"^model\.inner_loop\.steps is 0: give 1 or more$"),
        ({"rate": 0.0}, r"^model\.inner_loop\.rate is 0\.0: give a number above 0$"),
        ({"rate": float("nan")}, r"^model\.inner_loop\.rate is nan: give a number above 0$"),
        ({"rate": float("inf")}, r"^model\.inner_loop\.rate is inf: give a number above 0$"),
        ({"rates_lr": -0.1}, r"^model\.inner_loop\.rates_lr is -0\.1: give a number from 0 up$"),
    ],
)
def test_an_inner_loop_that_cannot_be_meant_names_its_key(settings, told):
    with pytest.raises(InputError, match=told):
        InnerLoopConfig(**settings)


def test_a_tower_that_reads_text_is_refused(tiny_encoder):
    with pytest.raises(InputError, match=r"^model\.user_tower reads text: the inner loop adapts towers that read item"):
        maml(tiny_encoder, user_tower=TextTower())


def test_a_tower_without_weights_is_none_to_adapt_whole(movielens, tiny_encoder, tmp_path):
    meta = maml(tiny_encoder, user_tower=MeanTower(), fast_weights=WholeTower())
    with pytest.raises(InputError, match=r"^model\.fast_weights: MeanTower has no weights to adapt: choose UserVector"):
        attached(meta, data_module(movielens, tiny_encoder), tmp_path)


def test_data_without_episodes_is_refused(movielens, tiny_encoder, tmp_path):
    with pytest.raises(InputError, match=r"^MAMLRecallModule learns from episodes: give it an EpisodeDataModule"):
        attached(maml(tiny_encoder), data_module(movielens, tiny_encoder, RecallDataModule), tmp_path)
