import math

import pytest
import torch
from torch import tensor

from recall_lightning.models.item_tower import ItemTower

TEXT_DIM, N_ITEMS = 6, 4


def shaped(**arguments):
    torch.manual_seed(0)
    tower = ItemTower(**arguments)
    tower.shape(TEXT_DIM, N_ITEMS)
    return tower


def test_without_projection_and_residual_an_item_is_its_text():
    tower, texts = shaped(), torch.randn(3, TEXT_DIM)
    assert tower(texts, tensor([2, 0, -1])).equal(texts)
    assert tower.dim == TEXT_DIM
    assert list(tower.parameters()) == []


@pytest.mark.parametrize("dim", [None, 3])
@pytest.mark.parametrize("training", [False, True])
def test_residuals_start_at_zero_so_that_an_item_begins_as_its_text(dim, training):
    texts, rows = torch.randn(3, TEXT_DIM), tensor([2, 0, -1])
    with_residual, without = shaped(dim=dim, residual=True).train(training), shaped(dim=dim)
    assert with_residual(texts, rows).equal(without(texts, rows))
    assert with_residual.residual.shape == (N_ITEMS, dim or TEXT_DIM)


def test_each_item_gets_its_own_residual_and_new_ones_stand_on_text_alone():
    tower, texts = shaped(residual=True).eval(), torch.zeros(4, TEXT_DIM)
    tower.residual.data = torch.arange(1.0, N_ITEMS + 1)[:, None].expand(N_ITEMS, TEXT_DIM).clone()
    assert tower(texts, tensor([2, -1, 0, -1]))[:, 0].tolist() == [3.0, 0.0, 1.0, 0.0]


def test_of_texts_is_what_a_new_item_gets():
    tower = shaped(dim=3, residual=True)
    tower.residual.data.fill_(7.0)
    texts = torch.randn(2, tower.projection.in_features)
    assert tower.of_texts(texts).equal(tower(texts, torch.tensor([-1, -1])))


@pytest.mark.parametrize("training", [False, True])
def test_a_new_item_teaches_no_residual(training):
    tower = shaped(residual=True, residual_dropout=0.0).train(training)
    tower(torch.ones(2, TEXT_DIM), tensor([-1, 3])).sum().backward()
    assert tower.residual.grad.any(1).tolist() == [False, False, False, True]


def test_residuals_are_left_out_in_training_alone_and_at_about_their_rate():
    tower, rows = shaped(residual=True, residual_dropout=0.3), tensor([1]).expand(20_000)
    tower.residual.data.fill_(1.0)
    texts = torch.zeros(len(rows), TEXT_DIM)
    assert tower.eval().drop(rows).equal(rows)
    assert (tower(texts, rows) == 1).all()
    drawn = tower.train()(texts, tower.drop(rows))
    assert ((drawn == 0) | (drawn == 1)).all()  # not scaled: what is kept is what an evaluation sees
    assert (drawn == drawn[:, :1]).all()  # an item's residual is left out as a whole
    assert drawn[:, 0].mean().item() == pytest.approx(0.7, abs=0.02)
    assert not drawn.equal(tower(texts, rows))


def test_a_residual_dropout_of_zero_leaves_nothing_out():
    tower = shaped(residual=True, residual_dropout=0.0).train()
    tower.residual.data.fill_(1.0)
    rows = tensor([1]).expand(1000)
    assert tower.drop(rows).equal(rows)


@pytest.mark.parametrize("dim", [1, 3, 6])
def test_the_projections_rows_start_orthonormal(dim):
    weight = shaped(dim=dim).projection.weight
    torch.testing.assert_close(weight @ weight.T, torch.eye(dim), atol=1e-6, rtol=0)


def test_a_projection_to_more_dimensions_keeps_all_similarities():
    tower, texts = shaped(dim=10), torch.randn(5, TEXT_DIM)
    projected = tower(texts, torch.arange(5) % N_ITEMS)
    torch.testing.assert_close(projected @ projected.T, texts @ texts.T, atol=1e-5, rtol=1e-5)


def test_words_are_added_to_the_projected_text_of_new_items_too():
    tower, texts = shaped(dim=2, residual=True, words=3), torch.randn(4, TEXT_DIM)
    words, rows = torch.randn(4, 2), torch.tensor([0, 1, -1, 2])
    plain = shaped(dim=2, residual=True)
    torch.testing.assert_close(tower(texts, rows, words), plain(texts, rows) + words)
    torch.testing.assert_close(tower.of_texts(texts, words), plain.of_texts(texts) + words)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"dim": 0}, r"dim is 0, but vectors need a width: give 1 or more, or null for the encoder's"),
    ({"words": 0}, r"words is 0, but a piece is of items: give 1 or more, such as 3, or null"),
    ({"residual_dropout": 1.0}, r"residual_dropout is 1\.0: give a share from 0 up to, but below, 1"),
    ({"residual_dropout": -0.1}, r"residual_dropout is -0\.1: give a share"),
    ({"residual_dropout": math.nan}, r"residual_dropout is nan: give a share"),
])  # fmt: skip
def test_a_bad_argument_fails_at_once_and_tells_the_cure(arguments, message):
    with pytest.raises(ValueError, match=message):
        ItemTower(**arguments)
