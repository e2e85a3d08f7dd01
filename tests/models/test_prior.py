"""The prior: popularity as coordinates behind the vectors."""

import pytest
import torch

from recall_lightning.models.item_tower import ItemTower
from recall_lightning.models.prior import LONGEST, SCALE, ItemsWithPrior, PlusPrior, UsersWithPrior, similarity_alone
from recall_lightning.models.similarity import Cosine, Dot, Euclidean
from recall_lightning.models.user_tower import MeanTower


def towers(popularity, *, dim=3, temperature=0.5):
    """An item tower without projection and a mean, both with the prior."""
    items, users = ItemTower(residual_dropout=0.0), MeanTower()
    items.shape(dim, len(popularity) - 1)
    return ItemsWithPrior(items, popularity, temperature), UsersWithPrior(users, dim, popularity.shape[1])


def test_at_first_a_score_over_the_temperature_is_the_similarity_plus_the_mean_log_popularity():
    popularity = torch.tensor([[0.0, -1.0], [-2.0, -3.0], [-4.0, -4.0]])  # two items, and one that is unknown
    item_tower, user_tower = towers(popularity, temperature=0.5)
    text = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    items = item_tower(text, torch.tensor([0, 1]))
    user = user_tower(items[None, :1], torch.tensor([[True]]))[:, -1]
    scores = PlusPrior(Cosine(), 2)(user, items) / 0.5
    torch.testing.assert_close(scores, torch.tensor([[1 / 0.5 - 0.5, 0 - 2.5]]))


def test_an_item_that_training_does_not_know_begins_with_the_last_row_of_the_popularity():
    popularity = torch.tensor([[0.0], [-2.0], [-4.0]])
    item_tower, _ = towers(popularity, temperature=1.0)
    found = item_tower(torch.zeros(3, 3), torch.tensor([-1, 0, 1]))[:, -2] / SCALE
    assert found.tolist() == [-4.0, 0.0, -2.0]


def test_of_texts_is_what_a_new_item_gets():
    item_tower, _ = towers(torch.tensor([[0.0, 1.0], [-2.0, 3.0], [-4.0, 5.0]]))
    texts = torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]])
    assert item_tower.of_texts(texts).equal(item_tower(texts, torch.tensor([-1, -1])))


def test_items_taken_for_new_in_a_step_lose_residual_and_popularity_together_and_teach_what_new_ones_get():
    popularity = torch.tensor([[1.0], [1.0], [-4.0]])
    inside = ItemTower(residual=True, residual_dropout=0.5)
    inside.shape(1, 2)
    inside.residual.data.fill_(7.0)
    tower = ItemsWithPrior(inside, popularity, 1.0)
    rows = torch.tensor([0, 1]).repeat(2000)
    found = tower.train()(torch.zeros(len(rows), 1), tower.drop(rows))
    taken = found[:, 0] == 0
    assert 0.45 < taken.float().mean() < 0.55
    assert torch.where(taken, -4.0, 1.0).equal(found[:, 1] / SCALE)
    found[:, 1].sum().backward()
    assert tower.new_popularity.grad.tolist() == pytest.approx([SCALE * taken.sum().item()])
    kept = tower.eval()(torch.zeros(len(rows), 1), rows)
    assert (kept[:, 0] == 7).all()
    torch.testing.assert_close(kept[:, 1] / SCALE, torch.ones(len(rows)))


@pytest.mark.parametrize("apart", [True, False])
def test_older_checkpoints_that_hold_a_new_items_popularity_scaled_apart_or_as_a_last_row_still_load(apart):
    older, (tower, _) = torch.tensor([[0.5], [0.25], [-1.0]]), towers(torch.zeros(3, 1))
    tower.load_state_dict({"popularity": older[:-1], "new": older[-1]} if apart else {"popularity": older})
    assert tower(torch.zeros(3, 3), torch.tensor([-1, 0, 1]))[:, -2].tolist() == [-1.0, 0.5, 0.25]


def test_the_weights_depend_on_how_many_items_are_known_and_padding_is_none():
    _, user_tower = towers(torch.zeros(3, 1))
    with torch.no_grad():
        user_tower.by_known.weight.copy_(torch.arange(LONGEST + 1.0).expand(2, -1))  # the weight is the number itself
    present = torch.tensor([[False, True, True], [True, True, True]])
    found = SCALE * user_tower(torch.ones(2, 3, 4), present)[..., -2].detach()
    torch.testing.assert_close(found, torch.tensor([[0.0, 1, 2], [1, 2, 3]]))
    long = user_tower(torch.ones(1, LONGEST + 5, 4), torch.ones(1, LONGEST + 5, dtype=torch.bool))
    assert long[0, -1, -2].item() == pytest.approx(LONGEST / SCALE)


def test_the_tower_inside_does_not_see_the_prior():
    popularity = torch.randn(5, 2)
    item_tower, user_tower = towers(popularity)
    items = item_tower(torch.randn(4, 3), torch.arange(4))
    users = user_tower(items[None], torch.ones(1, 4, dtype=torch.bool))
    torch.testing.assert_close(users[0, -1, :3], items[:, :3].mean(0))


def test_pairs_and_the_whole_matrix_agree():
    users, items = torch.randn(6, 6), torch.randn(6, 6)
    similarity = PlusPrior(Cosine(), 2)
    torch.testing.assert_close(similarity.pairs(users, items), similarity(users, items).diagonal())


def test_the_last_coordinate_of_a_user_is_how_much_the_similarity_counts_for():
    similarity = PlusPrior(Dot(), 1)
    item = torch.tensor([[2.0, 5.0, 0.0]])  # a vector of one coordinate, one of the prior
    for counts in (0.0, 0.5, 3.0):
        user = torch.tensor([[7.0, 11.0, counts / SCALE]])
        torch.testing.assert_close(similarity(user, item), torch.tensor([[counts * 14 + 55]]))


@pytest.mark.parametrize("similarity", [Cosine(), Dot(), Euclidean()])
def test_items_as_users_score_by_the_similarity_alone(similarity):
    item_tower, _ = towers(torch.randn(6, 2))
    items = item_tower(torch.randn(5, 3), torch.arange(5))
    before = items.clone()
    found = PlusPrior(similarity, 2)(similarity_alone(items, 2), items)
    torch.testing.assert_close(found, similarity(items[:, :3], items[:, :3]))
    assert items.equal(before)  # they are the catalogue's own
