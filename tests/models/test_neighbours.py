"""Neighbours against their formula, user by user and item by item."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recall_lightning.data.interactions import Interactions
from recall_lightning.data.successors import neighbours, successors
from recall_lightning.models.transitions import BESIDE, LAST_BESIDE, MOST_BESIDE, Bonus, Neighbours, Transitions

N_ITEMS = 6
HISTORIES = st.lists(st.lists(st.integers(0, 5), max_size=7, unique=True), min_size=1, max_size=5)


def grouped(histories):
    items = np.array([item for history in histories for item in history], np.int64)
    offsets = np.cumsum([0, *map(len, histories)])
    return Interactions([str(u) for u in range(len(histories))], items, None, offsets)


def made(histories, kind=Neighbours, count=neighbours, **limits):
    train = grouped(histories)
    near, share = count(train, N_ITEMS, **({"window": BESIDE, "most": MOST_BESIDE} | limits))
    counts = torch.bincount(torch.from_numpy(train.items), minlength=N_ITEMS)
    return kind(torch.from_numpy(near), torch.from_numpy(share), counts, 3, 0.5)


def slow_lifts(histories, recent, but=None):
    """`log(1 + m_j / q_j)`, with m_j the mean share of users who took j among those who took a recent item.

    `but`: a user whose own history isn't counted as a pair.
    """
    everything = [item for history in histories for item in history]
    lifts = []
    for j in range(N_ITEMS):
        m = 0.0
        for i in recent:
            both = sum(i in h and j in h for u, h in enumerate(histories) if u != but)
            m += both / max(everything.count(i), 1) if i != j else 0.0
        lifts.append(math.log1p(m / (len(recent) or 1) * (len(everything) + N_ITEMS) / (everything.count(j) + 1)))
    return lifts


@given(HISTORIES, st.lists(st.integers(0, 5), max_size=6, unique=True))
def test_an_item_is_lifted_by_how_many_of_those_who_took_an_item_of_the_history_took_it_too(histories, recent):
    history = torch.tensor([[-1] * (7 - len(recent)) + recent])
    found = made(histories)(torch.zeros(1, 1, 3), history).lifts[0](torch.tensor([0]))
    assert found[0].tolist() == pytest.approx(slow_lifts(histories, recent), rel=1e-4, abs=1e-5)


@given(HISTORIES, st.data())
def test_what_users_are_asked_for_in_training_is_not_lifted_by_their_own_history(histories, data):
    long_enough = [u for u, history in enumerate(histories) if len(history) > 1]
    if not long_enough:
        return
    who = data.draw(st.sampled_from(long_enough))
    place = data.draw(st.integers(1, len(histories[who]) - 1))
    told, target = histories[who][:place], histories[who][place]
    bonus = made(histories)(torch.zeros(1, 1, 3), torch.tensor([told]), torch.tensor([[target]]))
    found = bonus.lifts[0](torch.tensor([0]))[0, target].item()
    assert found == pytest.approx(slow_lifts(histories, told, but=who)[target], rel=1e-4, abs=1e-5)


def test_only_the_newest_items_of_a_long_history_tell_and_all_of_them_alike():
    histories = [[0, 1], [2, 3]]
    history = torch.tensor([[0] + [2] * (LAST_BESIDE - 1) + [0]])
    found = made(histories)(torch.zeros(1, 1, 3), history).lifts[0](torch.tensor([0]))[0]
    rarity = (4 + N_ITEMS) / 2
    assert found[1].item() == pytest.approx(math.log1p(rarity / LAST_BESIDE), rel=1e-5)
    assert found[3].item() == pytest.approx(math.log1p(rarity * (LAST_BESIDE - 1) / LAST_BESIDE), rel=1e-5)


def test_two_bonuses_are_added_each_with_its_own_weight():
    histories, history = [[0, 1, 2], [2, 0, 4]], torch.tensor([[0, 1], [-1, 2]])
    beside, after = made(histories), made(histories, Transitions, successors)
    after.by_known.weight.data.fill_(2.0)
    users, every = torch.zeros(2, 2, 3), torch.arange(4)
    parts = [part(users, history) for part in (beside, after)]
    joined = Bonus.joined(parts)
    assert joined.weights.shape == (2, 2, 2)
    assert joined.n_positions == 4
    torch.testing.assert_close(joined.of(every), parts[0].of(every) + parts[1].of(every))
    torch.testing.assert_close(parts[1].of(every), 0.5 * 2.0 * parts[1].lifts[0](every))
