"""Selecting: a list out of a ranking, under quotas, by maximal marginal relevance."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from recall_lightning.retrieval import selecting
from recall_lightning.retrieval.selecting import Diversity, Quotas, can_go_on, select

INF = float("inf")
ACTION, COMEDY, CRIME = 0, 1, 2


def test_a_list_goes_down_the_ranking_and_passes_over_what_a_quota_forbids():
    #                          heat             alien         brazil        fargo            007
    values = tensor([[ACTION, CRIME], [ACTION, -1], [COMEDY, -1], [CRIME, COMEDY], [-1, -1]])
    quotas = Quotas(values, tensor([1, 1, 2]))
    scores, rows = select(tensor([[5.0, 4, 3, 2, 1]]), tensor([[0, 1, 2, 3, 4]]), 4, quotas=quotas)
    # alien is a second action film, fargo a second comedy; 007 has no genre, and so no quota
    assert rows.tolist() == [[0, 2, 4, -1]]
    assert scores.tolist() == [[5, 3, 1, -INF]]


def test_a_list_can_not_go_on_where_each_item_has_a_value_that_is_spent():
    values = tensor([[ACTION, CRIME], [ACTION, -1], [CRIME, COMEDY]])
    lists = tensor([[0, -1], [1, -1], [-1, -1]])
    assert can_go_on(lists, Quotas(values, tensor([1, 1, 1]))).tolist() == [False, True, True]
    assert can_go_on(lists, Quotas(tensor([*values.tolist(), [-1, -1]]), tensor([1, 1, 1]))).all()  # one without any
    among = tensor([True, True, False])  # all that a filter leaves are of a spent value
    assert can_go_on(lists, Quotas(values, tensor([1, 1, 1])), among).tolist() == [False, False, True]


def test_diversity_weighs_what_is_new_in_an_item_against_its_score():
    vectors = tensor([[1.0, 0], [2.0, 0], [0, 1.0]])  # the first two are alike
    for weight, expected in [(1.0, [0, 1, 2]), (0.5, [0, 2, 1]), (0.0, [0, 2, 1])]:
        found = select(tensor([[1.0, 0.9, 0.5]]), tensor([[0, 1, 2]]), 3, diversity=Diversity.of(weight, vectors))
        assert found[1].tolist() == [expected]
    # scores as 0 to 1: 1, .8, 0; then .5 * 1, .5 * 0 - .5 * 0, .5 * .8 - .5 * 1
    found = select(tensor([[1.0, 0.9, 0.5]]), tensor([[0, 1, 2]]), 3, diversity=Diversity.of(0.5, vectors))
    torch.testing.assert_close(found[0], tensor([[0.5, 0.0, -0.1]]))


def slow(scores, values, limits, k, weight, vectors, pool):
    """One user's list, item by item; the ranking is that of the rows, from 0."""
    cosine = torch.nn.functional.cosine_similarity
    low = min(scores[:pool])
    span = scores[0] - low or 1
    chosen, by = [], []
    while len(chosen) < k:
        worth = {}
        for item, score in enumerate(scores):
            counts = [sum(value in values[other] for other in chosen) for value in values[item]]
            if item in chosen or any(n >= limits[v] for n, v in zip(counts, values[item], strict=True)):
                continue
            worth[item] = score
            if weight is not None:
                alike = [
                    max(0.0, float(cosine(vectors[item], vectors[other], dim=0))) for other in chosen if other < pool
                ]
                alike = 1.0 if item >= pool else max([0.0, *alike])
                worth[item] = weight * (score - low) / span - (1 - weight) * alike
        if not worth:
            break
        best = max(worth, key=lambda item: (round(worth[item], 5), -item))
        chosen.append(best)
        by.append(worth[best])
    return chosen, by


@st.composite
def rankings(draw):
    n = draw(st.integers(1, 9))
    scores = sorted(draw(st.lists(st.integers(-4, 4), min_size=n, max_size=n)), reverse=True)
    values = [sorted(draw(st.sets(st.integers(0, 2), max_size=2))) for _ in range(n)]
    limits = draw(st.lists(st.integers(1, 3), min_size=3, max_size=3))
    vectors = draw(st.lists(st.sampled_from([(1.0, 0.0), (0.0, 1.0), (0.6, 0.8), (-1.0, 0.0)]), min_size=n, max_size=n))
    weight = draw(st.sampled_from([None, 0.0, 0.25, 0.5, 1.0]))
    return (
        [float(s) for s in scores],
        values,
        limits,
        draw(st.integers(1, 10)),
        weight,
        tensor(vectors),
        draw(st.integers(1, 9)),
    )


@given(rankings())
def test_a_list_is_what_choosing_item_by_item_gives(drawn):
    scores, values, limits, k, weight, vectors, pool = drawn
    padded = tensor([of_item + [-1] * (2 - len(of_item)) for of_item in values])
    diversity = None if weight is None else Diversity.of(weight, vectors)
    before, selecting.POOL = selecting.POOL, pool
    try:
        found, rows = select(
            tensor([scores, scores]), torch.arange(len(scores)).repeat(2, 1), k,
            quotas=Quotas(padded, tensor(limits)), diversity=diversity,
        )  # fmt: skip
    finally:
        selecting.POOL = before
    expected, by = slow(scores, values, limits, k, weight, vectors, max(pool, k))
    for row, worth in zip(rows.tolist(), found, strict=True):
        assert row == expected + [-1] * (k - len(expected))
        torch.testing.assert_close(worth[: len(by)], tensor(by), atol=1e-5, rtol=0)
        assert bool((worth[1:] <= worth[:-1] + 1e-6).all())


def test_a_ranking_that_ends_gives_a_list_that_ends():
    found, rows = select(
        tensor([[2.0, -INF, -INF]]), tensor([[7, -1, -1]]), 2, diversity=Diversity.of(0.5, torch.eye(8))
    )
    assert (found.tolist(), rows.tolist()) == ([[0.0, -INF]], [[7, -1]])
