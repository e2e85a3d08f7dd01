"""RecallPrecisionAtThreshold: pairs that reach alpha, for every alpha."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import tensor

from recall_lightning.metrics import RecallPrecisionAtThreshold, ThresholdPoint
from recall_lightning.models.similarity import Cosine, Dot, Euclidean

INF = float("inf")
ARTICLE_X = tensor([[2.3, 4.1], [5.6, 2.3], [4.1, 5.3]])
ARTICLE_Y = tensor([[1.2, 2.1], [3.4, 1.9], [2.6, 3.2]])
ODD = np.array([0.0, 2**-126, 0.5, 0.5001, 0.5009766, 19.1, 3.4e38, INF], np.float32)
# excluded items, ties, both zeros, the least and the largest normal numbers, neighbours in a bin and across its edge
SCORES = st.one_of(
    st.sampled_from([*ODD.tolist(), *(-ODD).tolist(), -INF]), st.floats(-2, 2, width=32, allow_subnormal=False)
)
TARGETS = arrays(np.int64, (5, 3), elements=st.integers(-1, 6))


def curve_of(scores, targets):
    metric = RecallPrecisionAtThreshold()
    metric.update(torch.as_tensor(scores), torch.as_tensor(targets))
    return metric.compute()


def slow_counts(scores, targets, alpha):
    """Pairs recalled, hits, relevant pairs and users, by looking at each pair."""
    recalled = hits = relevant = users = 0
    for row, wanted in zip(scores.tolist(), targets.tolist(), strict=True):
        if all(target == -1 for target in wanted):
            continue
        users += 1
        relevant += len(set(wanted) - {-1})
        for item, score in enumerate(row):
            recalled += score > -INF and score >= alpha
            hits += score > -INF and score >= alpha and item in wanted
    return recalled, hits, relevant, users


@given(arrays(np.float32, (5, 7), elements=SCORES), TARGETS)
def test_counts_at_every_threshold_are_those_of_a_loop_over_all_pairs(scores, targets):
    curve = curve_of(scores, targets)
    for alpha, recalled, hits in zip(curve.alpha.tolist(), curve.n_recalled.tolist(), curve.hits.tolist(), strict=True):
        assert (recalled, hits, curve.n_relevant, curve.n_users) == slow_counts(scores, targets, alpha)


@given(arrays(np.float32, (5, 7), elements=SCORES), TARGETS)
def test_each_score_lies_at_or_closely_above_a_threshold(scores, targets):
    curve = curve_of(scores, targets)
    judged = (targets >= 0).any(1)
    for score in scores[judged][scores[judged] > -INF].tolist():
        below = curve.alpha[curve.alpha <= score]
        assert len(below)
        assert score == below[-1] or score - float(below[-1]) <= max(abs(score) / 512, 2**-135)
    assert (curve.alpha.diff() > 0).all()


@given(arrays(np.float32, (5, 7), elements=SCORES), TARGETS, st.floats(0.01, 1), st.floats(0.1, 7), st.floats(0.1, 4))
def test_the_best_threshold_is_what_trying_each_one_finds(scores, targets, precision, items, beta):
    curve = curve_of(scores, targets)
    tried = []
    for alpha in curve.alpha.tolist():
        recalled, hits, relevant, users = slow_counts(scores, targets, alpha)
        p, r = hits / recalled, hits / relevant
        f = (1 + beta**2) * p * r / (beta**2 * p + r) if hits else 0.0
        tried.append((ThresholdPoint(alpha, r, p, recalled / users), f))
    assert_best(
        curve, {"min_precision": precision}, [(t.recall, t.alpha) for t, _ in tried if t.precision >= precision]
    )
    assert_best(
        curve, {"max_items_per_user": items}, [(t.recall, t.alpha) for t, _ in tried if t.items_per_user <= items]
    )
    if tried:
        best = curve.best(beta=beta)
        assert max(f for _, f in tried) == pytest.approx(next(f for t, f in tried if t.alpha == best.alpha))
        assert best == pytest.approx(next(t for t, _ in tried if t.alpha == best.alpha))
        assert curve.f_beta(beta).tolist() == pytest.approx([f for _, f in tried])


def assert_best(curve, constraint, allowed):
    if not allowed:
        with pytest.raises(ValueError, match="no threshold"):
            curve.best(**constraint)
    else:  # most recall, then the larger alpha
        best = curve.best(**constraint)
        assert (pytest.approx(best.recall), best.alpha) == max(allowed)


def test_the_articles_example_is_recalled_from_an_alpha_between_its_lists_and_the_rest():
    wanted = tensor([[0, 2], [1, -1], [0, 2]])  # what the article's vectors recall at .95
    curve = curve_of(Cosine()(ARTICLE_X, ARTICLE_Y), wanted)
    best = curve.best(beta=1)
    assert best == (pytest.approx(0.985400, abs=1 / 1024), 1.0, 1.0, pytest.approx(5 / 3))
    assert curve.at(best.alpha) == best
    # one item a user at most: x1 and x3 have their y1 and y3 above .9995, x2 has none
    assert curve.best(max_items_per_user=1)[1:] == (pytest.approx(3 / 5), 1.0, 1.0)


def test_the_articles_example_by_dot_product_and_distance_needs_no_other_settings():
    wanted = tensor([[2], [1], [2]])
    assert curve_of(Dot()(ARTICLE_X, ARTICLE_Y), wanted).best(min_precision=0.5)[1:3] == (1.0, 0.6)
    # squared distances .90 of x1 and y3, 5.00 of x2 and y2, then 5.21 of x1 and y1; x3 and y3 come later with 6.66
    near = curve_of(Euclidean()(ARTICLE_X, ARTICLE_Y), wanted).best(max_items_per_user=1)
    assert near == (pytest.approx(-5.0, rel=1 / 512), pytest.approx(2 / 3), 1.0, pytest.approx(2 / 3))


def test_pooled_recall_and_precision_can_be_counted_in_the_head():
    scores = tensor([[0.75, 0.5, 0.25], [0.5, 0.25, -INF]])
    curve = curve_of(scores, tensor([[0, 2], [0, -1]]))
    assert curve.alpha.tolist() == [0.25, 0.5, 0.75]
    assert curve.recall.tolist() == [1.0, 2 / 3, 1 / 3]
    assert curve.precision.tolist() == [3 / 5, 2 / 3, 1.0]
    assert curve.items_per_user.tolist() == [2.5, 1.5, 0.5]
    assert curve.f_beta(1).tolist() == pytest.approx([3 / 4, 2 / 3, 1 / 2])


def test_a_relevant_item_that_is_no_candidate_is_recalled_at_no_alpha():
    curve = curve_of(tensor([[0.5, -INF]]), tensor([[0, 1]]))
    assert (curve.alpha.tolist(), curve.recall.tolist(), curve.precision.tolist()) == ([0.5], [0.5], [1.0])


def test_both_zeros_are_one_score():
    curve = curve_of(tensor([[0.0, -0.0, -1.0]]), tensor([1]))
    assert (curve.alpha.tolist(), curve.n_recalled.tolist()) == ([-1.0009765625 - 2**-10 + 2**-23, 0.0], [3, 2])


def test_numbers_too_small_to_be_normal_are_counted_as_any_others():
    scores = tensor([[1, 20000, 0, 1 - 2**31, 20000 - 2**31]]).int().view(torch.float32)  # by their bits
    curve = curve_of(scores, tensor([0]))
    assert curve.n_recalled.tolist() == [int((scores >= alpha).sum()) for alpha in curve.alpha] == [5, 4, 3, 1]


def test_users_with_nothing_relevant_are_left_out_and_counted():
    metric = RecallPrecisionAtThreshold()
    metric.update(tensor([[0.5, 0.25], [0.75, 0.75]]), tensor([[0], [-1]]))
    curve = metric.compute()
    assert (curve.alpha.tolist(), curve.n_users, int(metric.n_skipped)) == ([0.25, 0.5], 1, 1)


def test_a_target_named_twice_counts_once():
    assert curve_of(tensor([[0.5, 0.25]]), tensor([[0, -1, 0]])).n_relevant == 1


def test_batches_and_processes_in_any_order_give_the_same_curve():
    scores, targets = torch.randn(30, 40), torch.randint(-1, 40, (30, 2))
    whole, one, other = (RecallPrecisionAtThreshold() for _ in range(3))
    whole.update(scores, targets)
    for metric, rows in [(one, [slice(20, 30), slice(0, 5)]), (other, [slice(5, 20)])]:
        for part in rows:
            metric.update(scores[part], targets[part])
    for name in whole._defaults:  # as torchmetrics reduces states over processes
        setattr(one, name, getattr(one, name) + getattr(other, name))
    assert torch.equal(whole.compute().alpha, one.compute().alpha)
    assert torch.equal(whole.compute().hits, one.compute().hits)
    assert torch.equal(whole.compute().n_recalled, one.compute().n_recalled)


def test_the_memory_does_not_grow():
    metric = RecallPrecisionAtThreshold()
    for _ in range(3):
        metric.update(torch.randn(50, 100), torch.zeros(50, dtype=torch.int64))
    assert sum(getattr(metric, name).nbytes for name in metric._defaults) < 4.1 * 2**20


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_scores_may_have_any_float_type_and_layout(dtype):
    scores = tensor([[0.25, 0.5], [0.5, -1.0], [0.0, 0.5]], dtype=dtype).T  # (2, 3), not contiguous
    assert curve_of(scores, tensor([[0, 2], [0, -1]])).hits.tolist() == [3, 3, 2, 1]


def test_what_another_curves_threshold_gives_is_exact_and_above_all_scores_nothing():
    curve = curve_of(tensor([[0.75, 0.5]]), tensor([0]))
    assert curve.at(0.625) == ThresholdPoint(0.625, 1.0, 1.0, 1.0)
    assert curve.at(0.875) == ThresholdPoint(0.875, 0.0, 0.0, 0.0)


def test_equally_good_thresholds_give_the_higher_one():
    assert curve_of(tensor([[0.75, 0.5, 0.25]]), tensor([0])).best(max_items_per_user=3).alpha == 0.75


@pytest.mark.parametrize(
    ("constraint", "told"),
    [
        ({}, "0 constraints are given: give exactly one of min_precision, max_items_per_user, beta"),
        ({"beta": 1, "min_precision": 0.5}, "2 constraints are given"),
        ({"beta": 0}, "beta is 0: give a number above 0"),
        ({"min_precision": 0.9}, r"no threshold meets min_precision 0\.9: the highest in reach is 0\.5"),
        ({"max_items_per_user": 0.5}, r"no threshold meets max_items_per_user 0\.5: the fewest are 1\."),
    ],
)
def test_a_constraint_that_cannot_be_met_tells_what_can(constraint, told):
    curve = curve_of(tensor([[0.75, 0.5]]), tensor([1]))
    with pytest.raises(ValueError, match=told):
        curve.best(**constraint)


@pytest.mark.parametrize(("scores", "targets"), [(torch.zeros(0, 3), torch.zeros(0, 2).long()),
                                                 (torch.zeros(2, 3), torch.full((2, 1), -1)),
                                                 (torch.full((1, 3), -INF), tensor([[0]]))])  # fmt: skip
def test_without_users_or_candidates_there_is_no_threshold(scores, targets):
    curve = curve_of(scores, targets)
    assert len(curve.alpha) == 0
    assert curve.at(0.5) == ThresholdPoint(0.5, 0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="no user has both a candidate and a relevant item"):
        curve.best(beta=1)


def test_nan_scores_are_named_with_the_cure():
    with pytest.raises(ValueError, match=r"NaN.*diverged.*lower learning rate"):
        curve_of(tensor([[0.1, math.nan]]), tensor([0]))


def test_targets_of_other_users_than_the_scores_are_refused():
    with pytest.raises(ValueError, match=r"scores are of 3 users, targets of 1.*same users"):
        curve_of(torch.zeros(3, 4), tensor([[0]]))
