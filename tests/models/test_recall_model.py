"""RecallModel: what counts as a new item, and what new items are given."""

import pytest
import torch

from recall_lightning.models.encoder import TextEncoder
from recall_lightning.models.item_tower import ItemTower
from recall_lightning.models.recall_model import RecallModel
from recall_lightning.models.user_tower import MeanTower
from recall_lightning.pretrained import load_model

COUNTS = torch.tensor([5, 0, 2])  # nobody took item 1


@pytest.fixture
def model(tiny_encoder):
    def build(**more):
        torch.manual_seed(0)
        popularity = torch.tensor([[1.0], [-6.0], [0.5], [0.25]])  # the last: of a new item
        made = RecallModel(
            TextEncoder(load_model(tiny_encoder)), ItemTower(4, residual=True), MeanTower(), COUNTS, 5, popularity, 0.5,
            **more,
        )  # fmt: skip
        made.cache.vectors.normal_()
        made.item_tower.tower.residual.data.normal_()
        return made.eval()

    return build


def test_an_item_that_nobody_took_is_a_new_one_though_the_training_catalogue_has_it(model):
    model = model()
    vectors = model.catalogue_vectors()
    outside = model.item_tower(model.cache.vectors, torch.full((3,), -1))
    inside = model.item_tower(model.cache.vectors, torch.arange(3))
    assert vectors[1].equal(outside[1])
    assert not vectors[1].equal(inside[1])
    assert vectors[[0, 2]].equal(inside[[0, 2]])
    assert model.known_rows(torch.tensor([2, 1, -1, 0])).tolist() == [2, -1, -1, 0]


def test_a_boost_of_n_makes_new_items_e_to_the_n_times_as_likely_and_no_others(model):
    users, history = torch.randn(4, 6), torch.zeros(4, 5, dtype=torch.int64)
    assert model().bonus(users, history) is None
    added = model(new_boost=2.0).bonus(users, history)
    expected = torch.tensor([0.0, 2.0 * 0.5, 0.0])  # times the temperature, by which scores are divided
    assert added(slice(1, 3)).tolist() == expected.expand(2, 3).tolist()
    others = model(new_boost=2.0).bonus(users, history, torch.tensor([-1, 2, 1, 0]))
    assert others(slice(0, 1)).tolist() == [[1.0, 0.0, 1.0, 0.0]]


def test_a_boost_is_added_to_transitions(model):
    users, history = torch.randn(2, 6), torch.tensor([[0, 2], [2, 0]])
    transitions = torch.tensor([[2], [-1], [0]]), torch.tensor([[0.5], [0.0], [1.0]])
    plain, boosted = (model(new_boost=b, transitions=transitions).bonus(users, history) for b in (0.0, 2.0))
    every = slice(None)
    torch.testing.assert_close(boosted(every), plain(every) + torch.tensor([0.0, 1.0, 0.0]))
    assert (plain(every)[:, [0, 2]] > 0).any()
