"""Episodes: the first k of a user, k drawn, and what comes next; draws that nothing but the seed decides."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recall_lightning.data.episodes import EpisodeCollator, EpisodeConfig, episode_counts, episode_spans
from recall_lightning.data.interactions import Interactions
from recall_lightning.data.ragged import offsets_of
from recall_lightning.data.sampler import EpochSampler, Keys, ResumableLoader
from recall_lightning.data.tokens import Frame, Tokens
from recall_lightning.errors import InputError

N_ITEMS = 20
LONG = [4, 0, 5, 2, 7, 9, 11, 3]


def interactions_of(*histories):
    items = np.array([item for history in histories for item in history], np.int64)
    lengths = np.array([len(history) for history in histories], np.int64)
    return Interactions([f"user {u}" for u in range(len(histories))], items, None, offsets_of(lengths))


def collator(*histories, n_negatives=0, max_encoded=None, seed=0, **episodes):
    """Of histories, with episodes as of `EpisodeConfig`."""
    train, config = interactions_of(*histories), EpisodeConfig(**episodes)
    texts = Tokens(np.arange(N_ITEMS, dtype=np.int32) + 10, offsets_of(np.ones(N_ITEMS, np.int64)), Frame([2], [3], 0))
    return EpisodeCollator(
        train, texts, np.log(np.arange(1, N_ITEMS + 1, dtype=np.float32)), episode_spans(train, config),
        n_negatives=n_negatives, trainable=None, max_encoded=max_encoded, from_catalogue=False,
        history_tokens=None, seed=seed, max_buckets=4, cut_share=0.0,
        episodes=config,
    )  # fmt: skip


def catalogue_rows(batch, local):
    """Local rows as catalogue rows, -1 where there is none."""
    return torch.where(local >= 0, batch.items[local.clamp(min=0)], -1).tolist()


def told_and_asked(batch):
    """`(support, query)` of each user, without the filling."""
    parts = zip(catalogue_rows(batch, batch.history), catalogue_rows(batch, batch.targets), strict=True)
    return [tuple([row for row in part if row >= 0] for part in both) for both in parts]


def episodes_of(made, user=0, n=200):
    """What many epochs draw of one user."""
    return [told_and_asked(made([(epoch, user)]))[0] for epoch in range(n)]


def test_the_support_is_a_users_first_k_and_the_query_what_follows_at_once():
    made = collator(LONG, [1, 6, 8], min_support=2, max_support=2, n_queries=3)
    assert told_and_asked(made([(0, 0), (0, 1)])) == [([4, 0], [5, 2, 7]), ([1, 6], [8])]


def test_supports_stand_at_the_right_and_queries_at_the_left():
    made = collator(LONG, [1, 6], min_support=1, max_support=3, n_queries=2)
    keys = next(k for k in ([(epoch, 0), (epoch, 1)] for epoch in range(99)) if made(k).history.shape[1] == 3)
    batch = made(keys)
    assert catalogue_rows(batch, batch.history) == [[4, 0, 5], [-1, -1, 1]]
    assert catalogue_rows(batch, batch.targets) == [[2, 7], [6, -1]]


def test_k_is_drawn_evenly_from_its_range_anew_in_each_episode():
    drawn = Counter(len(told) for told, _ in episodes_of(collator(LONG, min_support=2, max_support=5), n=1000))
    assert drawn.keys() == {2, 3, 4, 5}
    assert all(n == pytest.approx(250, abs=55) for n in drawn.values())  # 4 standard deviations


def test_users_of_a_meta_batch_draw_for_themselves():
    made = collator(LONG, LONG[::-1], max_support=7)
    assert len({tuple(len(told) for told, _ in told_and_asked(made([(e, 0), (e, 1)]))) for e in range(200)}) > 30


def test_one_interaction_at_least_is_left_to_ask_for():
    seen = episodes_of(collator([3, 1, 2], max_support=10, n_queries=9))
    assert {tuple(map(tuple, episode)) for episode in seen} == {((3,), (1, 2)), ((3, 1), (2,))}


def test_users_too_short_for_the_smallest_support_and_a_query_are_no_tasks():
    train = interactions_of([1, 2], [3], [], [4, 5, 6], [7, 8, 9])
    assert episode_spans(train, EpisodeConfig(min_support=2)).tolist() == [[3, 6], [6, 9]]
    assert episode_spans(train, EpisodeConfig(min_support=1)).tolist() == [[0, 2], [3, 6], [6, 9]]


def test_where_no_user_is_long_enough_the_key_to_lower_is_named():
    with pytest.raises(InputError, match=r"^data\.episodes: no training user has more than 3 .*min_support.*Lower it"):
        episode_spans(interactions_of([1, 2], [3, 4, 5]), EpisodeConfig(min_support=3))


def test_a_support_starts_no_later_than_allowed_and_still_leaves_a_query():
    made = collator(LONG, max_support=2, n_queries=1, latest_start=3, late_share=1.0)
    starts = Counter(LONG.index(told[0]) for told, _ in episodes_of(made, n=400))
    assert starts.keys() == {0, 1, 2, 3}
    short = collator(LONG[:4], min_support=2, max_support=2, n_queries=1, latest_start=99, late_share=1.0)
    assert {tuple(told) for told, _ in episodes_of(short)} == {(4, 0), (0, 5)}


@pytest.mark.parametrize(("late_share", "at_the_start"), [(0.0, 1.0), (0.5, 0.5 + 0.5 / 7), (1.0, 1 / 7)])
def test_a_share_of_the_episodes_starts_late(late_share, at_the_start):
    made = collator(LONG, max_support=1, n_queries=1, latest_start=50, late_share=late_share)
    share = np.mean([told[0] == LONG[0] for told, _ in episodes_of(made, n=1000)])
    assert share == pytest.approx(at_the_start, abs=0.065)  # 4 standard deviations


@given(
    st.lists(st.integers(2, 12), min_size=1, max_size=5), st.integers(1, 4), st.integers(0, 6), st.integers(1, 5),
    st.integers(0, 6), st.integers(0, 99),
)  # fmt: skip
def test_every_episode_is_a_stretch_of_its_users_history_as_configured(lengths, least, more, n_queries, latest, epoch):
    histories = [list(range(length)) for length in lengths if length > least] or [list(range(12))]
    made = collator(
        *histories, min_support=least, max_support=least + more, n_queries=n_queries, latest_start=latest
    )  # fmt: skip
    batch = made([(epoch, user) for user in range(len(histories))])
    for (told, asked), history in zip(told_and_asked(batch), histories, strict=True):
        start = told[0]  # an item's number is its place
        assert told + asked == list(range(start, start + len(told) + len(asked)))
        assert least <= len(told) <= least + more
        assert start <= latest
        assert len(asked) == min(n_queries, len(history) - start - len(told)) >= 1


def test_each_distinct_item_of_a_meta_batch_stands_once():
    batch = collator([1, 2, 3], [3, 2, 4], min_support=2, max_support=2, n_negatives=40)([(0, 0), (0, 1)])
    assert len(set(batch.items.tolist())) == len(batch.items) == batch.n_encoded
    assert {1, 2, 3, 4} <= set(batch.items.tolist())


def test_all_that_a_user_met_is_known_beyond_support_and_query():
    batch = collator(LONG, [1, 6], max_support=1, n_queries=1)([(0, 1), (0, 0)])
    assert batch.known.tolist() == [[1, 6, -1, -1, -1, -1, -1, -1], LONG]
    assert sorted(batch.items.tolist()) == [0, 1, 4, 6]


def same(one, other):
    fields = ("items", "history", "targets", "known", "log_q")
    return all(torch.equal(getattr(one, f), getattr(other, f)) for f in fields)


HISTORIES = [[(user + step) % N_ITEMS for step in range(6)] for user in range(8)]


def loader(workers, **changes):
    made = collator(*HISTORIES, max_support=4, n_negatives=5, max_encoded=6, latest_start=2, **changes)
    return ResumableLoader(
        Keys(), sampler=EpochSampler(8, seed=1), batch_size=3, num_workers=workers, collate_fn=made
    )  # fmt: skip


def test_the_number_of_workers_changes_no_draw():
    alone, shared = list(loader(0)), list(loader(2))
    assert len(alone) == len(shared) == 3
    assert all(map(same, alone, shared))


@pytest.mark.parametrize("workers", [0, 2])
def test_after_a_resume_the_draws_are_those_of_an_unbroken_epoch(workers):
    whole, resumed = list(loader(0)), loader(workers)
    resumed.load_state_dict({"batches": 2})
    (last,) = resumed
    assert same(whole[2], last)


def test_another_epoch_seed_or_first_user_draws_others():
    made, keys = collator(*HISTORIES, max_support=5), [(3, user) for user in range(8)]
    once = told_and_asked(made(keys))
    assert once == told_and_asked(made(keys))
    assert once != told_and_asked(collator(*HISTORIES, max_support=5, seed=1)(keys))
    assert once != told_and_asked(made([(4, user) for _, user in keys]))
    assert once[::-1] != told_and_asked(made(keys[::-1]))


def test_items_within_reach_of_an_episode_are_counted():
    train = interactions_of([1, 2, 3, 4], [2], [4, 2])
    assert episode_counts(train, EpisodeConfig(max_support=1, n_queries=1), 6).tolist() == [0, 1, 3, 0, 1, 0]
    assert episode_counts(train, EpisodeConfig(max_support=1, n_queries=2), 6).tolist() == [0, 1, 3, 1, 1, 0]
    later = EpisodeConfig(max_support=1, n_queries=1, latest_start=2)
    assert episode_counts(train, later, 6).tolist() == [0, 1, 3, 1, 2, 0]


def test_no_item_that_a_batch_asks_for_or_tells_is_uncounted():
    for latest_start in (0, 2):
        made = collator(*HISTORIES, max_support=2, n_queries=2, latest_start=latest_start)
        counts = episode_counts(made.train, made.episodes, N_ITEMS)
        met = {row for epoch in range(50) for row in made([(epoch, u) for u in range(8)]).items.tolist()}
        assert met == set(np.flatnonzero(counts).tolist())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"min_support": 0}, r"^data\.episodes\.min_support is 0: give 1 or more$"),
        ({"n_queries": 0}, r"^data\.episodes\.n_queries is 0: give 1 or more$"),
        ({"latest_start": -1}, r"^data\.episodes\.latest_start is -1: give 0 or more$"),
        ({"min_support": 4, "max_support": 3}, r"^data\.episodes\.max_support is 3, below min_support, 4: give"),
        ({"max_support": 51}, r"^data\.episodes\.max_support is 51, but .* sees 50 items \(data\.max_history\)"),
        ({"late_share": 1.5}, r"^data\.episodes\.late_share is 1\.5: give a share from 0 to 1$"),
    ],
)
def test_a_value_that_cannot_be_meant_names_its_key(settings, told):
    with pytest.raises(InputError, match=told):
        EpisodeConfig(**settings).check(max_history=50)
