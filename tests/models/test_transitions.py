"""Transitions against their formula, user by user and item by item."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recall_lightning.data.interactions import Interactions
from recall_lightning.data.successors import successors
from recall_lightning.models.transitions import LAST, LONGEST, MOST, WINDOW, Transitions

N_ITEMS = 5
HISTORIES = st.lists(st.lists(st.integers(0, 4), max_size=7), min_size=1, max_size=5)


def transitions(histories, *, dim=3, temperature=0.5, most=MOST):
    items = np.array([item for history in histories for item in history], np.int64)
    offsets = np.cumsum([0, *map(len, histories)])
    train = Interactions([str(u) for u in range(len(histories))], items, None, offsets)
    after, share = successors(train, N_ITEMS, window=WINDOW, most=most)
    counts = torch.bincount(torch.from_numpy(items), minlength=N_ITEMS)
    return Transitions(torch.from_numpy(after), torch.from_numpy(share), counts, dim, temperature)


def slow_lifts(histories, recent):
    """`log(1 + m_j / q_j)` of every item, after the items `recent`, oldest first, by counting all pairs."""
    everything = [item for history in histories for item in history]
    lags = {place: len(recent) - place for place in range(max(0, len(recent) - LAST), len(recent))}
    lifts = []
    for item in range(N_ITEMS):
        m = 0.0
        for place, lag in lags.items():
            count = sum(
                1 / distance
                for history in histories
                for here in range(len(history))
                for distance in range(1, WINDOW + 1)
                if here + distance < len(history) and (history[here], history[here + distance]) == (recent[place], item)
            )
            m += count / lag / max(everything.count(recent[place]), 1)
        m /= sum(1 / lag for lag in lags.values()) or 1
        lifts.append(math.log1p(m * (len(everything) + N_ITEMS) / (everything.count(item) + 1)))
    return lifts


@given(HISTORIES, st.lists(st.integers(0, 4), max_size=13))
def test_an_item_is_lifted_by_how_often_it_followed_the_newest_items_beside_how_often_it_is_taken_at_all(
    histories, recent
):
    history = torch.tensor([[-1] * (14 - len(recent)) + recent])
    found = transitions(histories)(torch.zeros(1, 1, 3), history).lifts[0](torch.tensor([0]))
    assert found[0].tolist() == pytest.approx(slow_lifts(histories, recent), rel=1e-4, abs=1e-5)


@given(st.lists(st.permutations(range(N_ITEMS)), min_size=1, max_size=4), st.data())
def test_a_target_that_was_counted_does_not_lift_itself(histories, data):
    who, place = data.draw(st.integers(0, len(histories) - 1)), data.draw(st.integers(1, N_ITEMS - 1))
    history, target = histories[who][:place], histories[who][place]
    of_all = transitions(histories)
    bonus = of_all(torch.zeros(1, 1, 3), torch.tensor([history]), torch.tensor([[target]]))
    others = 0.0  # what the other users' histories say of the target; each has every item once
    for lag, item in enumerate(reversed(history), 1):
        apart = [h.index(target) - h.index(item) for i, h in enumerate(histories) if i != who]
        others += sum(1 / distance for distance in apart if distance > 0) / len(histories) / lag
    others /= sum(1 / lag for lag in range(1, place + 1))
    popularity = (len(histories) + 1) / (len(histories) * N_ITEMS + N_ITEMS)
    found = bonus.lifts[0](torch.tensor([0]))[0, target].item()
    assert found == pytest.approx(math.log1p(others / popularity), rel=1e-4, abs=1e-5)


@given(st.lists(st.permutations(range(N_ITEMS)), min_size=1, max_size=4), st.data())
def test_nor_do_several_that_followed_one_another(histories, data):
    who, place = data.draw(st.integers(0, len(histories) - 1)), data.draw(st.integers(1, N_ITEMS - 1))
    history, targets = histories[who][:place], histories[who][place:]
    model = transitions(histories)
    together = model(torch.zeros(1, 1, 3), torch.tensor([history]), torch.tensor([[targets]])).lifts[0](
        torch.tensor([0])
    )
    for at, target in enumerate(targets):
        others = 0.0
        for lag, item in enumerate(reversed(history), 1):
            apart = [h.index(target) - h.index(item) for i, h in enumerate(histories) if i != who]
            others += sum(1 / distance for distance in apart if distance > 0) / len(histories) / lag
        others /= sum(1 / lag for lag in range(1, place + 1))
        popularity = (len(histories) + 1) / (len(histories) * N_ITEMS + N_ITEMS)
        told = together[0, target].item()
        assert told == pytest.approx(math.log1p(others / popularity), rel=1e-4, abs=1e-5), at


def test_from_what_cut_a_target_nothing_is_taken_off():
    histories = [[0, 1, 2], [0, 1, 2], [3, 2]]  # after 0 comes 1, by most=1, and no more 2; after 1 comes 2
    model = transitions(histories, most=1)
    found = model(torch.zeros(1, 1, 3), torch.tensor([[0, 1]]), torch.tensor([[2]])).lifts[0](torch.tensor([0]))[0, 2]
    m = (2 / 2 - 1 / 2) / (1 + 1 / 2)  # of 1 alone: it was followed twice, once by this very target
    assert found.item() == pytest.approx(math.log1p(m * (8 + N_ITEMS) / (3 + 1)), rel=1e-5)


def test_every_position_of_a_history_sees_what_came_up_to_it():
    model = transitions([[0, 1, 2, 3], [1, 2, 4, 0]])
    history = torch.tensor([[-1, 0, 1, 2], [3, 1, 4, 2]])
    users = torch.randn(2, 4, 3)
    every = model(users, history)
    for row in range(2):
        for place in range(4):
            alone = model(users[row : row + 1, place : place + 1], history[row : row + 1, : place + 1])
            at = torch.tensor([4 * row + place])
            torch.testing.assert_close(every.lifts[0](at), alone.lifts[0](torch.tensor([0])))
            torch.testing.assert_close(every.weights[row, place], alone.weights[0, 0])


def test_columns_are_the_only_items_that_are_scored():
    model, history = transitions([[0, 1, 2, 3]]), torch.tensor([[0, 1]])
    whole = model(torch.zeros(1, 1, 3), history).lifts[0](torch.tensor([0]))
    few = model(torch.zeros(1, 1, 3), history, columns=torch.tensor([3, 2])).lifts[0](torch.tensor([0]))
    assert few.equal(whole[:, [3, 2]])


@given(st.permutations(range(N_ITEMS)), st.integers(0, N_ITEMS), st.sets(st.integers(0, N_ITEMS - 1)))
def test_in_any_order_and_however_few_they_are_scored_as_among_all(order, n, unknown):
    histories = [[0, 1, 2, 3], [1, 2, 4, 0], [3, 0, 2]]
    model, targets = transitions(histories), torch.tensor([[1, 2, 3], [2, 4, 0]])
    users, history, positions = torch.zeros(2, 3, 3), torch.tensor([[0, 1, 2], [1, 2, 4]]), torch.arange(6)
    columns = torch.tensor([-1 if item in unknown else item for item in order[:n]], dtype=torch.int64)
    whole = model(users, history, targets).lifts[0](positions)
    found = model(users, history, targets, columns).lifts[0](positions)
    torch.testing.assert_close(found, torch.where(columns >= 0, whole[:, columns.clamp(min=0)], 0))


def test_what_a_step_takes_for_new_is_nothings_successor_but_still_tells_what_follows_it():
    model, history = transitions([[0, 1, 2, 3]]), torch.tensor([[0, 1]])
    whole = model(torch.zeros(1, 1, 3), history).lifts[0](torch.tensor([0]))
    found = model(torch.zeros(1, 1, 3), history, columns=torch.tensor([-1, -1, 2, -1, 4])).lifts[0](torch.tensor([0]))
    assert whole[0, 2] > 0
    assert found[0].tolist() == [0, 0, whole[0, 2].item(), 0, whole[0, 4].item()]


def test_the_weight_follows_from_how_many_items_are_known_and_from_the_users_vector():
    model = transitions([[0, 1]], temperature=0.5)
    model.by_known.weight.data = torch.arange(LONGEST + 1.0)[None]
    model.by_vector.weight.data = torch.tensor([[10.0, 0.0, 0.0]])
    history = torch.full((1, 30), 1)
    history[0, 0] = -1
    users = torch.zeros(1, 30, 5)  # with two coordinates of a prior, which don't count
    users[0, 2, 0], users[0, :, 3:] = 1.0, 7.0
    weights = (model(users, history).weights / 0.5)[0, :, 0]
    assert weights[:4].tolist() == [0.0, 1.0, 12.0, 3.0]
    assert weights[-1] == LONGEST
