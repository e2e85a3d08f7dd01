"""`model.init_from`: a RecallModule that goes on from another's weights."""

import pytest
import torch
from meta_runs import attached, data_module, maml, trainer, weights

from recall_lightning import (
    InputError,
    ItemTower,
    MeanTower,
    RecallDataModule,
    RecallLoss,
    RecallModule,
    Tabular,
    TransformerTower,
)
from recall_lightning.modules.encoder_config import EncoderConfig
from recall_lightning.modules.loading import load_module


def of_movielens(movielens, tiny_encoder, **changes):
    return data_module(movielens, tiny_encoder, RecallDataModule, **changes)


def of_typed(typed, tiny_encoder, **changes):
    reader = Tabular(str(typed / "interactions.csv"), str(typed / "items.csv"))
    return RecallDataModule(reader, "{title} {genres}", str(tiny_encoder), max_text_tokens=24, **changes)


def recall(tiny_encoder, start, **changes):
    settings = {
        "user_tower": TransformerTower(1, 2, dropout=0.4), "item_tower": ItemTower(16, residual=True),
        "encoder": {},
    } | changes  # fmt: skip
    encoder = EncoderConfig(str(tiny_encoder), **settings.pop("encoder"))
    return RecallModule(encoder, init_from=str(start), **settings)


def test_on_the_same_training_part_it_goes_on_with_every_weight(movielens, tiny_encoder, tmp_path, start):
    module = attached(recall(tiny_encoder, start), of_movielens(movielens, tiny_encoder), tmp_path)
    had, has = weights(RecallModule.load_from_checkpoint(start)), weights(module)
    assert had["model.item_tower.residual"].abs().sum() > 0
    assert had.keys() == has.keys()
    assert not {name for name in had if "cache" not in name and not had[name].equal(has[name])}


def test_on_other_data_it_leaves_behind_what_tells_the_old_items(typed, tiny_encoder, tmp_path, start):
    module = attached(recall(tiny_encoder, start), of_typed(typed, tiny_encoder, max_history=8), tmp_path)
    had, has = weights(RecallModule.load_from_checkpoint(start)), weights(module)
    assert has["model.item_tower.residual"].equal(torch.zeros(5, 16))
    changed = {name for name in had if "cache" not in name and not had[name].equal(has[name])}
    assert changed == {"model.item_tower.residual"}


def test_words_come_with_a_start_those_that_other_data_has_too(movielens, typed, tiny_encoder, tmp_path):
    towers = {"user_tower": MeanTower(), "item_tower": ItemTower(16, words=2)}
    run, first = trainer(tmp_path), RecallModule(EncoderConfig(str(tiny_encoder)), **towers)
    run.fit(first, of_movielens(movielens, tiny_encoder))
    run.save_checkpoint(tmp_path / "words.ckpt")
    had = first.model.words
    assert (had.vectors.abs().sum(1) > 0).all()
    again = attached(
        recall(tiny_encoder, tmp_path / "words.ckpt", **towers), of_movielens(movielens, tiny_encoder), tmp_path
    )
    assert again.model.words.vectors.equal(had.vectors)
    meta = attached(
        maml(tiny_encoder, init_from=str(tmp_path / "words.ckpt")), data_module(movielens, tiny_encoder), tmp_path
    )
    assert meta.model.words.vectors.equal(had.vectors)
    plain = recall(tiny_encoder, tmp_path / "words.ckpt", user_tower=MeanTower(), item_tower=ItemTower(16))
    with pytest.raises(
        InputError, match=r"words\.ckpt .*: set model\.item_tower\.init_args\.words to 2, as it was trained"
    ):
        attached(plain, of_movielens(movielens, tiny_encoder), tmp_path)
    other = attached(recall(tiny_encoder, tmp_path / "words.ckpt", **towers), of_typed(typed, tiny_encoder), tmp_path)
    has = other.model.words
    shared = {piece: row for row, piece in enumerate(has.known.tolist()) if piece in had.known}
    assert 0 < len(shared) <= len(has.known) < len(had.known)
    for piece, row in shared.items():
        assert has.vectors[row].equal(had.vectors[had.known.tolist().index(piece)])


@pytest.mark.parametrize("longest", [4, 25])
def test_a_bias_by_lag_is_cut_or_goes_on_with_its_last_value(typed, tiny_encoder, tmp_path, start, longest):
    name = "model.user_tower.blocks.0.lag.values"
    had = weights(RecallModule.load_from_checkpoint(start))[name]
    module = attached(recall(tiny_encoder, start), of_typed(typed, tiny_encoder, max_history=longest), tmp_path)
    has = weights(module)[name]
    assert has.shape == (2, longest)
    assert had.shape == (2, 8)
    for lag in range(longest):
        assert has[:, lag].equal(had[:, min(lag, 7)])


def test_what_the_start_lacks_is_new(movielens, tiny_encoder, tmp_path):
    run, first = trainer(tmp_path), RecallModule(EncoderConfig(str(tiny_encoder)), MeanTower(), ItemTower(16))
    run.fit(first, of_movielens(movielens, tiny_encoder))
    run.save_checkpoint(tmp_path / "plain.ckpt")
    module = recall(
        tiny_encoder, tmp_path / "plain.ckpt", user_tower=MeanTower(), candidates="catalogue", transitions=True
    )
    attached(module, of_movielens(movielens, tiny_encoder), tmp_path)
    has = weights(module)
    assert has["model.item_tower.residual"].eq(0).all()
    assert has["model.transitions.by_known.weight"].eq(torch.tensor(0.3)).all()
    assert has["model.item_tower.projection.weight"].equal(weights(first)["model.item_tower.projection.weight"])


def test_its_own_checkpoint_needs_no_start(typed, tiny_encoder, tmp_path, start):
    copy = tmp_path / "copy.ckpt"
    copy.write_bytes(start.read_bytes())
    run, module = trainer(tmp_path), recall(tiny_encoder, copy)
    run.fit(module, of_typed(typed, tiny_encoder))
    run.save_checkpoint(tmp_path / "own.ckpt")
    copy.unlink()
    again = load_module(tmp_path / "own.ckpt")
    assert not {n for n, value in weights(again).items() if "cache" not in n and not value.equal(weights(module)[n])}


def test_another_split_of_its_own_data_is_refused_since_it_may_have_seen_what_is_held_out(
    movielens, tiny_encoder, tmp_path, start
):
    other = of_movielens(movielens, tiny_encoder, seed=1)
    with pytest.raises(
        InputError, match=r"start\.ckpt \(model\.init_from\): trained on 118 of these items' texts.*seen"
    ):
        attached(recall(tiny_encoder, start), other, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"item_tower": ItemTower(8, residual=True)},
            r"model\.item_tower: .*is \(16, 32\) there and \(8, 32\) here: .*dim",
        ),
        (
            {"user_tower": TransformerTower(2, 2)},
            r"model\.user_tower is of another kind there \(blocks\.1\..* only in one",
        ),
        ({"user_tower": MeanTower()}, r"model\.user_tower is of another kind there"),
        ({"prior": True}, r"set model\.prior to false, as it was trained"),
    ],
)
def test_towers_of_another_kind_are_refused(typed, tiny_encoder, tmp_path, start, changes, message):
    with pytest.raises(InputError, match=rf"start\.ckpt \(model\.init_from\): {message}"):
        attached(recall(tiny_encoder, start, **changes), of_typed(typed, tiny_encoder), tmp_path)


def test_a_missing_start_is_told_before_data_is_read(tiny_encoder, tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.ckpt: no such checkpoint"):
        recall(tiny_encoder, tmp_path / "nowhere.ckpt")


def test_texts_are_pooled_as_the_start_learned_it(tiny_encoder, start):
    with pytest.raises(InputError, match=r"^model\.encoder\.pooling is cls, but .*start\.ckpt .* mean: set it to that"):
        recall(tiny_encoder, start, encoder={"pooling": "cls"})


def test_an_encoder_of_another_vocabulary_is_refused(typed, tiny_encoder, tmp_path, start):
    other = tmp_path / "other-bert"
    other.mkdir()
    for file in tiny_encoder.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    words = (other / "tokenizer.json").read_text()
    (other / "tokenizer.json").write_text(words.replace('"##z"', '"##zz"'))
    data = of_typed(typed, other)
    with pytest.raises(InputError, match=r"start\.ckpt \(model\.init_from\): its encoder reads another vocabulary"):
        attached(recall(other, start), data, tmp_path)


def test_a_loss_that_learns_its_temperature_goes_on_from_it(typed, tiny_encoder, tmp_path):
    loss = RecallLoss(temperature=0.1, learn_temperature=True)
    run = trainer(tmp_path)
    module = RecallModule(EncoderConfig(str(tiny_encoder)), MeanTower(), ItemTower(16), loss)
    run.fit(module, of_typed(typed, tiny_encoder))
    with torch.no_grad():
        for parameter in module.loss.parameters():
            parameter.add_(1)
    run.save_checkpoint(tmp_path / "learned.ckpt")
    more = recall(
        tiny_encoder, tmp_path / "learned.ckpt", user_tower=MeanTower(), item_tower=ItemTower(16),
        loss=RecallLoss(temperature=0.1, learn_temperature=True),
    )  # fmt: skip
    attached(more, of_typed(typed, tiny_encoder), tmp_path)
    assert float(more.loss.temperature) == pytest.approx(float(module.loss.temperature))
    assert float(more.loss.temperature) != pytest.approx(0.1)
