"""Batches: each distinct item once, targets right after their history, draws that nothing but the seed decides."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recall_lightning.data.batches import EvalCollator, TrainCollator, draw_encoded, log_batch_chance
from recall_lightning.data.interactions import Interactions
from recall_lightning.data.ragged import offsets_of
from recall_lightning.data.sampler import EpochSampler, Keys, ResumableLoader
from recall_lightning.data.sequences import sequences
from recall_lightning.data.splits import Cases
from recall_lightning.data.tokens import Frame, Tokens

CLS, SEP = 2, 3


def interactions_of(*histories):
    items = np.array([item for history in histories for item in history], np.int64)
    lengths = np.array([len(history) for history in histories], np.int64)
    return Interactions([f"user {u}" for u in range(len(histories))], items, None, offsets_of(lengths))


def texts_of(n_items):
    """Item i's text is i + 10, as many times as i % 3 + 1: texts of every length."""
    lengths = np.arange(n_items) % 3 + 1
    return Tokens(np.repeat(np.arange(n_items) + 10, lengths).astype(np.int32), offsets_of(lengths), FRAME)


FRAME = Frame([CLS], [SEP], 0)
TRAIN = interactions_of([4, 0, 5, 2], [], [1], [], [3, 5], [0, 1, 2, 3, 4, 5, 6])
N_ITEMS = 20


def collator(train=TRAIN, *, n_items=N_ITEMS, max_history=50, **options):
    options = {
        "n_negatives": 0,
        "trainable": None,
        "max_encoded": None,
        "from_catalogue": False,
        "history_tokens": None,
        "seed": 0,
        "max_buckets": 4,
        "cut_share": 0.0,
    } | options
    log_q = np.log(np.arange(1, n_items + 1, dtype=np.float32))
    return TrainCollator(train, texts_of(n_items), log_q, sequences(train, max_history), **options)


def catalogue_rows(batch, local):
    """Local rows as catalogue rows, -1 where there is none."""
    return torch.where(local >= 0, batch.items[local.clamp(min=0)], -1).tolist()


def test_histories_and_what_came_next_stand_at_the_right():
    batch = collator()([(0, 0), (0, 1)])
    assert catalogue_rows(batch, batch.history) == [[4, 0, 5], [-1, -1, 3]]
    assert catalogue_rows(batch, batch.targets) == [[0, 5, 2], [-1, -1, 5]]


def test_all_that_a_user_met_is_known_also_what_lies_outside_the_sequence():
    made = collator(max_history=3)
    batch = made([(0, 3), (0, 2), (0, 1)])
    assert made.spans[1:].tolist() == [[5, 7], [7, 11], [10, 14]]
    assert catalogue_rows(batch, batch.history) == [[3, 4, 5], [0, 1, 2], [-1, -1, 3]]
    whole = [0, 1, 2, 3, 4, 5, 6]
    assert batch.known.tolist() == [whole, whole, [3, 5, -1, -1, -1, -1, -1]]


def test_some_sequences_are_cut_in_two_anew_each_epoch_and_every_target_stays_one():
    made, seen = collator(cut_share=1.0), set()
    for epoch in range(20):
        batch = made([(epoch, 0), (epoch, 2)])
        history, targets = catalogue_rows(batch, batch.history), catalogue_rows(batch, batch.targets)
        assert sorted(t for row in targets for t in row if t >= 0) == sorted([0, 5, 2, 1, 2, 3, 4, 5, 6])
        pairs = [(h, t) for rows in zip(history, targets, strict=True) for h, t in zip(*rows, strict=True) if t >= 0]
        assert set(pairs) == {(4, 0), (0, 5), (5, 2), (0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6)}
        assert len(history) == len(batch.known) == 4
        assert batch.known[2].tolist() == batch.known[0].tolist()  # its user's, whichever part it is
        seen.add(str(history))
        assert catalogue_rows(made([(epoch, 0), (epoch, 2)]), batch.history) == history
    assert len(seen) > 5


def test_what_is_cut_of_a_stand_in_stands_in_too():
    batch = collator(cut_share=1.0)([(0, ~0), (0, ~2)])
    assert batch.stands_in
    assert len(batch.history) == 4
    assert (batch.targets == -1).all()


def test_a_batch_without_a_target_has_items_whatever_the_tower_reads():
    for history_tokens in (None, 16):  # as of a process whose share of the users is used up
        made = collator(history_tokens=history_tokens)
        batch = made.assemble(np.array([0]), np.array([[3, 4]]), np.array([[-1]]), np.random.default_rng(0))
        assert len(batch.items) > 0
        assert batch.targets.tolist() == [[-1]]


def test_each_distinct_item_stands_once_and_by_length_of_text():
    batch = collator(n_negatives=30)([(0, 0), (0, 1), (0, 2)])
    items = batch.items.tolist()
    assert len(set(items)) == len(items) == batch.n_encoded
    assert {0, 1, 2, 3, 4, 5, 6} <= set(items)
    lengths = [item % 3 + 1 for item in items]
    assert lengths == sorted(lengths)
    assert batch.n_tokens == sum(lengths) + 2 * len(items) == int(batch.tokens.mask.sum())
    assert batch.log_q.tolist() == pytest.approx([math.log(item + 1) for item in items])


def test_tokens_are_of_the_encoded_items_in_their_order():
    batch = collator(max_encoded=3)([(0, 0), (0, 2)])
    for item, ids, mask in zip(batch.items[:3].tolist(), batch.tokens.ids, batch.tokens.mask, strict=True):
        assert ids[mask].tolist() == [CLS, *[item + 10] * (item % 3 + 1), SEP]


@pytest.mark.parametrize(("most", "encoded"), [(1, 1), (3, 3), (7, 7), (50, 7), (None, 7)])
def test_no_more_items_get_gradient_than_allowed_and_the_others_stay_in_the_batch(most, encoded):
    batch = collator(max_encoded=most)([(0, 0), (0, 2)])
    assert (batch.n_encoded, len(batch.tokens.ids)) == (encoded, encoded)
    assert sorted(batch.items.tolist()) == [0, 1, 2, 3, 4, 5, 6]
    lengths = [item % 3 for item in batch.items[:encoded].tolist()]
    assert lengths == sorted(lengths)
    assert catalogue_rows(batch, batch.history)[0] == [-1, -1, -1, 4, 0, 5]


def test_which_items_get_gradient_is_drawn_evenly():
    made = collator(max_encoded=3)
    chosen = [item for epoch in range(1400) for item in made([(epoch, 0), (epoch, 2)]).items[:3].tolist()]
    assert np.bincount(chosen, minlength=7).tolist() == pytest.approx([600] * 7, abs=75)  # 4 standard deviations


@given(st.integers(1, 9), st.integers(0, 9), st.integers(2, 25) | st.none())
def test_gradient_is_spread_over_a_batchs_items_and_the_other_candidates_as_if_all_had_it(n_items, n_others, most):
    items, others, rng = np.arange(n_items), np.arange(n_items, n_items + n_others), np.random.default_rng(0)
    n_all = n_items + n_others
    found, draws = np.zeros(n_all), 600
    for _ in range(draws):
        drawn, shares = draw_encoded(items, others, most, rng)
        assert len(set(drawn.tolist())) == len(drawn) == len(shares)
        assert len(drawn) == min(n_all, most or -(-n_items * 3 // 2))
        assert shares.mean() == pytest.approx(1)
        found[drawn] += shares / draws
    expected = len(drawn) / n_all  # of each item, on average
    spread = np.sqrt(shares.max() * expected / draws)
    assert found.tolist() == pytest.approx([expected] * n_all, abs=5 * spread)


def test_other_items_of_the_catalogue_get_gradient_where_they_are_candidates_and_may_be_trained_on():
    trainable = np.array([0, 1, 2, 3, 4, 5, 6, 8, 10])
    made = collator(max_encoded=6, from_catalogue=True, trainable=trainable)
    batches = [made([(epoch, 0), (epoch, 2)]) for epoch in range(50)]
    encoded = [batch.items[: batch.n_encoded].tolist() for batch in batches]
    assert all(len(items) == 6 and len(set(items) - set(range(7))) == 2 for items in encoded)
    assert {item for items in encoded for item in items} == set(trainable.tolist())
    for batch, items in zip(batches, encoded, strict=True):
        assert set(batch.items.tolist()) == set(range(7)) | set(items)
        assert batch.shares.tolist() == pytest.approx([(7 / 4 if item < 7 else 2 / 2) * 6 / 9 for item in items])
        assert catalogue_rows(batch, batch.history)[0] == [-1, -1, -1, 4, 0, 5]
    assert collator(max_encoded=6)([(0, 0)]).shares is None


def test_negatives_are_uniform_over_the_catalogue():
    made = collator(interactions_of([0, 1]), n_negatives=1)
    drawn = [batch.items.tolist() for batch in (made([(epoch, 0)]) for epoch in range(4000))]
    assert all({0, 1} <= set(items) for items in drawn)
    counts = np.bincount([item for items in drawn for item in items], minlength=N_ITEMS)[2:]
    assert counts.tolist() == pytest.approx([200] * 18, abs=56)  # 4 standard deviations


def same(one, other):
    fields = ("items", "history", "targets", "known", "log_q")
    return one.n_encoded == other.n_encoded and all(torch.equal(getattr(one, f), getattr(other, f)) for f in fields)


def test_draws_follow_from_seed_epoch_and_first_sequence():
    keys = [(3, 0), (3, 2)]
    once = collator(n_negatives=9, max_encoded=5)(keys)
    assert same(once, collator(n_negatives=9, max_encoded=5)(keys))
    for other, its_keys in ((1, keys), (0, [(4, 0), (4, 2)]), (0, [(3, 2), (3, 0)])):
        assert set(collator(n_negatives=9, seed=other)(its_keys).items.tolist()) != set(once.items.tolist())


def test_the_number_of_workers_changes_nothing():
    train = interactions_of(*([u % 10, (u + 3) % 10, (u + 5) % 10] for u in range(8)))

    def epoch(workers):
        return list(ResumableLoader(
            Keys(), sampler=EpochSampler(8, seed=1), batch_size=3, num_workers=workers,
            collate_fn=collator(train, n_negatives=9, max_encoded=5),
        ))  # fmt: skip

    alone, shared = epoch(0), epoch(2)
    assert len(alone) == len(shared) == 3
    assert all(map(same, alone, shared))


def test_a_user_tower_that_reads_text_gets_one_position_cut_somewhere():
    made = collator(history_tokens=64)
    seen = set()
    for epoch in range(60):
        batch = made([(epoch, 0), (epoch, 1)])
        assert batch.targets.shape == (2, 1)
        target, other_target = (row[0] for row in catalogue_rows(batch, batch.targets))
        assert other_target == 5
        past = [4, 0, 5, 2][: [4, 0, 5, 2].index(target)]
        text = [CLS] + [t for item in reversed(past) for t in [*[item + 10] * (item % 3 + 1), SEP]]
        assert batch.history_tokens.ids[0][batch.history_tokens.mask[0]].tolist() == text
        seen.add(target)
    assert seen == {0, 5, 2}


def test_where_the_history_is_read_as_text_the_items_to_encode_are_the_targets_and_the_negatives():
    batch = collator(history_tokens=64)([(0, 0), (0, 1)])
    assert set(batch.items.tolist()) == {row[0] for row in catalogue_rows(batch, batch.targets)}
    more = collator(history_tokens=64, n_negatives=5)([(0, 0), (0, 1)])
    assert len(batch.items) < len(more.items) <= len(batch.items) + 5


def test_a_batch_moves_to_a_device_whole():
    batch = collator(history_tokens=64)([(0, 0)])
    moved = batch.to(torch.device("meta"))
    assert {moved.items.device.type, moved.tokens.ids.device.type, moved.history_tokens.mask.device.type} == {"meta"}
    assert (moved.n_encoded, moved.tokens.buckets) == (batch.n_encoded, batch.tokens.buckets)


def test_the_chance_of_an_item_agrees_with_the_closed_form():
    counts, drawn, negatives = np.array([60, 30, 10, 0]), 7, 2
    expected = [1 - (1 - count / 100) ** drawn * (1 - 1 / 4) ** negatives for count in counts]
    assert np.exp(log_batch_chance(counts, drawn, negatives)).tolist() == pytest.approx(expected)


def test_the_chance_of_an_item_agrees_with_drawing_batches():
    counts, drawn, negatives, batches = np.array([60, 30, 9, 1, 0]), 6, 2, 20_000
    rng = np.random.default_rng(0)
    items = np.concatenate(
        [rng.choice(5, (batches, drawn), p=counts / 100), rng.integers(0, 5, (batches, negatives))], 1
    )
    share = [(items == item).any(1).mean() for item in range(5)]
    assert np.exp(log_batch_chance(counts, drawn, negatives)).tolist() == pytest.approx(share, abs=0.015)


def test_an_item_that_cannot_be_drawn_gets_the_chance_of_the_rarest_that_can():
    chances = log_batch_chance(np.array([9, 0, 1]), 2, 0)
    assert chances[1] == chances[2] < chances[0]
    assert log_batch_chance(np.array([0, 0]), 2, 0).tolist() == [0, 0]
    assert log_batch_chance(np.array([5]), 2, 3).tolist() == [0]


def test_tiny_chances_keep_their_digits():
    counts = np.array([10**12, 1])
    assert log_batch_chance(counts, 1, 0)[1] == pytest.approx(math.log(1e-12), rel=1e-6)


def eval_collator(max_history=50, history_tokens=None):
    made = interactions_of([4, 0, 5, 2], [3, 5], [6, 1, 0])
    history = np.array([[0, 3], [4, 4], [6, 7]])
    cases = Cases(made, np.array([0, 1, 2]), history, np.array([[3, 4], [4, 6], [7, 9]]), known=history)
    return EvalCollator(cases, texts_of(N_ITEMS), max_history, history_tokens)


def test_a_case_has_its_users_newest_items_and_all_that_is_not_recommended_again():
    batch = eval_collator(max_history=2)([0, 1, 2])
    assert batch.users.tolist() == [0, 1, 2]
    assert batch.history.tolist() == [[0, 5], [-1, -1], [-1, 6]]
    assert batch.targets.tolist() == [[2, -1], [3, 5], [1, 0]]
    assert batch.known.tolist() == [[4, 0, 5], [-1, -1, -1], [6, -1, -1]]
    assert batch.history_tokens is None


def test_cases_come_in_the_order_asked_for():
    assert eval_collator()([2, 0]).users.tolist() == [2, 0]


def test_a_text_reading_user_tower_gets_the_joined_history_also_where_there_is_none():
    text = eval_collator(max_history=2, history_tokens=64)([0, 1]).history_tokens
    assert text.ids[0].tolist() == [CLS, 15, 15, 15, SEP, 10, SEP]
    assert text.ids[1][text.mask[1]].tolist() == [CLS, SEP]


@pytest.mark.parametrize("history_tokens", [None, 64])
def test_parts_of_a_batch_are_its_rows(history_tokens):
    batch = eval_collator(history_tokens=history_tokens)([0, 1, 2])
    part = batch.part(1, 3)
    assert part.users.tolist() == [1, 2]
    for field in ("history", "targets", "known"):
        assert getattr(part, field).tolist() == getattr(batch, field)[1:3].tolist()
    if history_tokens:
        assert part.history_tokens.ids.tolist() == batch.history_tokens.ids[1:3].tolist()
    assert batch.part(0, 3) is batch
