import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from recall_lightning.models import top_k as ranking
from recall_lightning.models.keys import rows_of, values_of
from recall_lightning.models.screen import Screen, longest, screens
from recall_lightning.models.similarity import Dot
from recall_lightning.models.sweep import CrowdedError

pytestmark = pytest.mark.skipif(not screens(), reason="no units for bfloat16 in this processor")


def slow_best(users, items, k, known=None):
    """By the float32 score of each pair, ties by the lower row."""
    scores = torch.stack([(items * user).sum(-1) for user in users])
    if known is not None:
        for user, rows in enumerate(known):
            scores[user, rows[rows >= 0]] = -torch.inf
    found = scores.sort(dim=-1, descending=True, stable=True)
    return found.values[:, :k].numpy(), found.indices[:, :k].numpy()


def screened(users, items, k, **options):
    keys = Screen(items, longest(items)).keys(users, k, **options)
    return values_of(keys), rows_of(keys)


@settings(deadline=None)
@given(
    st.integers(1, 9), st.integers(300, 3000), st.sampled_from([1, 3, 33, 136, 384]), st.integers(1, 20),
    st.integers(0, 10**6), st.sampled_from(["unit", "long", "tiny", "far from zero", "twice"]),
)  # fmt: skip
def test_what_the_screen_leaves_is_ranked_as_all_would_be_to_the_last_bit(n_users, n_items, dim, k, seed, kind):
    draw = torch.Generator().manual_seed(seed)
    users, items = torch.randn(n_users, dim, generator=draw), torch.randn(n_items, dim, generator=draw)
    if kind == "unit":
        items = F.normalize(items)
    elif kind == "long":
        items *= torch.randn(n_items, 1, generator=draw).exp() * 1e4
    elif kind == "tiny":
        items *= 1e-20
    elif kind == "far from zero":
        items += 5
    else:
        items[n_items // 2 :] = items[: n_items - n_items // 2].clone()  # every score twice
    known = torch.randint(-1, n_items, (n_users, 7), generator=draw)
    try:
        values, rows = screened(users, items, k, known=known, block=256)
    except CrowdedError:
        return  # it said that it can't tell
    slow_values, slow_rows = slow_best(users, items, k, known)
    assert rows.tolist() == slow_rows.tolist()
    assert values.tolist() == slow_values.tolist()


def test_the_screen_is_of_use():
    draw = torch.Generator().manual_seed(0)
    users, items = torch.randn(130, 64, generator=draw), F.normalize(torch.randn(40_000, 64, generator=draw))
    values, rows = screened(users, items, 10)
    slow_values, slow_rows = slow_best(users, items, 10)
    assert np.array_equal(rows, slow_rows)
    assert np.array_equal(values, slow_values)


def test_items_closer_together_than_bfloat16_can_tell_are_ranked_exactly():
    draw = torch.Generator().manual_seed(1)
    users = F.normalize(torch.randn(5, 48, generator=draw))
    items = F.normalize(torch.randn(5000, 48, generator=draw))
    items[::100] = F.normalize(users.mean(0) + 1e-6 * torch.randn(50, 48, generator=draw))
    values, rows = screened(users, items, 30)
    slow_values, slow_rows = slow_best(users, items, 30)
    assert np.array_equal(rows, slow_rows)
    assert np.array_equal(values, slow_values)


def test_a_catalogue_is_screened_from_some_size_on_and_swept_where_that_is_no_help(monkeypatch):
    asked = []
    keys = Screen.keys

    def watched(self, users, *arguments, **options):
        asked.append(len(users))
        return keys(self, users, *arguments, **options)

    monkeypatch.setattr(Screen, "keys", watched)
    monkeypatch.setattr(ranking, "AT_LEAST", 1000)
    draw = torch.Generator().manual_seed(0)
    users, items = torch.randn(200, 16, generator=draw), torch.randn(1000, 16, generator=draw)
    for some, catalogue, screened_users in [(users, items, [200]), (users[:9], items, []), (users, items[:999], [])]:
        asked.clear()
        rows = ranking.top_k(some, catalogue, Dot(), 5)[1]
        assert asked == screened_users
        assert rows.equal((some @ catalogue.T).topk(5).indices)
    alike = torch.ones(1000, 16)
    assert ranking.top_k(users, alike, Dot(), 3)[1].tolist() == [[0, 1, 2]] * 200
