"""Losses of a vector that has several targets at once, and of each user alone."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import tensor

from recall_lightning.losses import BinaryRecallLoss, RecallLoss
from recall_lightning.models.similarity import Cosine, Dot, Euclidean

BATCH, POSITIONS, RELEVANT, CANDIDATES, DIM = 3, 2, 3, 5, 2
COARSE = st.sampled_from([-2.0, -0.5, 0.0, 0.5, 3.0])  # zeros, opposite and equal vectors turn up
SIMILARITIES = st.sampled_from([Cosine(), Dot(), Euclidean()])
TEMPERATURES = st.sampled_from([0.05, 0.3, 1.0, 4.0])
POSITIVE_WEIGHTS = st.sampled_from([None, 0.5, 1.0, 20.0])


@st.composite
def batches(draw):
    """Users `(batch, positions, dim)`, items, targets with -1 anywhere, log q and known."""
    users = draw(arrays(np.float64, (BATCH, POSITIONS, DIM), elements=COARSE))
    items = draw(arrays(np.float64, (CANDIDATES, DIM), elements=COARSE))
    targets = draw(arrays(np.int64, (BATCH, POSITIONS, RELEVANT), elements=st.integers(-1, CANDIDATES - 1)))
    log_q = draw(st.none() | arrays(np.float64, CANDIDATES, elements=st.floats(-8, 0)))
    known = draw(st.none() | arrays(np.bool_, (BATCH, CANDIDATES)))
    return tuple(None if a is None else torch.from_numpy(a) for a in (users, items, targets, log_q, known))


def slow_rows(users, items, targets, log_q, known, score):
    """Of every vector that has a target: each target's logit, and `(logit, weight)` of the negatives."""
    for b in range(len(users)):
        for user, row in zip(users[b], targets[b].tolist(), strict=True):
            own = [target for target in row if target >= 0]
            q = torch.zeros(len(items)) if log_q is None else log_q
            not_negative = set(own) | {c for c in range(len(items)) if known is not None and known[b, c]}
            negatives = [(score(user, items[c]), float(q[c])) for c in range(len(items)) if c not in not_negative]
            yield [(score(user, items[target]), float(q[target])) for target in own], negatives


def slow_softmax_loss(similarity, t, *batch):
    losses = []
    for own, negatives in slow_rows(*batch, lambda u, v: float(similarity.pairs(u, v)) / t):
        for score, log_q in own:  # each target against the negatives, as if it were the only one
            logits = [score - log_q, *(s - q for s, q in negatives)]
            top = max(logits)
            losses.append(top + math.log(math.fsum(math.exp(x - top) for x in logits)) - logits[0])
    return math.fsum(losses) / len(losses) if losses else 0.0


def slow_binary_loss(similarity, t, alpha, positive_weight, *batch):
    positive, negative = [], []  # (weight, cross-entropy) of each pair
    for own, negatives in slow_rows(*batch, lambda u, v: (float(similarity.pairs(u, v)) - alpha) / t):
        if own:
            positive += [(1.0, softplus(-z)) for z, _ in own]
            negative += [(math.exp(-log_q), softplus(z)) for z, log_q in negatives]
    if positive_weight is None:
        return weighted_mean(positive) + weighted_mean(negative)
    return weighted_mean([(positive_weight * w, x) for w, x in positive] + negative)


def softplus(z):
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


def weighted_mean(pairs):
    return math.fsum(w * x for w, x in pairs) / math.fsum(w for w, _ in pairs) if pairs else 0.0


# -- the formulas ------------------------------------------------------------------------------------------------------


@given(batches(), SIMILARITIES, TEMPERATURES)
def test_the_softmax_form_asks_for_each_target_among_those_that_are_no_targets(batch, similarity, t):
    users, items, targets, log_q, known = batch
    loss = RecallLoss(similarity, temperature=t)(users, items, targets, log_q=log_q, known=known)
    assert loss.nll.dtype == torch.float64
    # the temperature itself is float32
    assert loss.nll.item() == pytest.approx(slow_softmax_loss(similarity, t, *batch), rel=1e-5, abs=1e-5)


@given(batches(), SIMILARITIES, TEMPERATURES, st.sampled_from([-0.5, 0.0, 0.7]), POSITIVE_WEIGHTS)
def test_the_threshold_form_counts_each_target_once_and_each_negative_once(batch, similarity, t, alpha, weight):
    users, items, targets, log_q, known = batch
    loss = BinaryRecallLoss(similarity, temperature=t, alpha=alpha, positive_weight=weight)
    expected = slow_binary_loss(similarity, t, alpha, weight, *batch)
    computed = loss(users, items, targets, log_q=log_q, known=known).nll
    assert computed.item() == pytest.approx(expected, rel=1e-5, abs=1e-5)


@given(batches(), st.sampled_from([RecallLoss, BinaryRecallLoss]))
def test_targets_in_another_order_and_more_padding_change_nothing(batch, kind):
    users, items, targets, log_q, known = batch
    nothing = torch.full_like(targets[..., :1], -1)
    losses = [
        kind()(users, items, laid_out, log_q=log_q, known=known).nll.item()
        for laid_out in (
            targets,
            targets.flip(-1),
            torch.cat([nothing, targets], -1),
            torch.cat([targets, nothing], -1),
        )
    ]
    assert losses == pytest.approx([losses[0]] * 4)


@given(batches(), st.sampled_from([RecallLoss, BinaryRecallLoss]))
def test_a_row_of_one_target_costs_what_the_plain_form_says(batch, kind):
    users, items, targets, log_q, known = batch
    one = targets[..., :1]
    if known is not None:
        known = known.scatter(1, one[..., 0].clamp(min=0), True)
    plain = kind()(users, items, one[..., 0], log_q=log_q, known=known).nll.item()
    padded = torch.cat([torch.full_like(one, -1), one], -1)
    assert kind()(users, items, one, log_q=log_q, known=known).nll.item() == pytest.approx(plain)
    assert kind()(users, items, padded, log_q=log_q, known=known).nll.item() == pytest.approx(plain)


def test_a_user_of_one_vector_may_have_several_targets_too():
    users, items = tensor([[1.0, 0.0]]), torch.eye(2)
    targets = tensor([[0, 1]])
    flat, in_positions = RecallLoss()(users, items, targets), RecallLoss()(users[:, None], items, targets[:, None])
    assert flat.nll.item() == in_positions.nll.item()


# -- gradients ---------------------------------------------------------------------------------------------------------


def some_batch(dtype=torch.float64):
    torch.manual_seed(0)
    users, items = torch.randn(3, 2, 4, dtype=dtype), torch.randn(6, 4, dtype=dtype)
    targets = tensor([[[0, 1], [-1, 1]], [[-1, -1], [2, 4]], [[5, -1], [3, 3]]])
    known = torch.zeros(3, 6, dtype=torch.bool)
    known[[0, 0, 0, 1, 2, 2], [0, 1, 4, 2, 3, 5]] = True
    return users, items, targets, torch.randn(6, dtype=dtype) - 2, known


class Nll(torch.nn.Module):
    """A loss's `nll` as `forward`, which `functional_call` needs."""

    def __init__(self, loss):
        super().__init__()
        self.loss = loss

    def forward(self, *args, **named):
        return self.loss.nll(*args, **named)


@pytest.mark.parametrize("similarity", [Cosine(), Dot(), Euclidean()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("kind", [RecallLoss, BinaryRecallLoss])
def test_gradients_and_theirs_are_those_of_finite_differences(kind, similarity):
    users, items, targets, log_q, known = some_batch()
    loss = kind(similarity, temperature=0.7, learn_temperature=True).double()

    def value(each, users, items, *parameters):
        named = {f"loss.{n}": p for (n, _), p in zip(loss.named_parameters(), parameters, strict=True)}
        return torch.func.functional_call(Nll(loss), named, (users, items, targets, log_q, known), {"each": each})

    inputs = [x.requires_grad_() for x in [users, items, *(p.detach().clone() for p in loss.parameters())]]
    assert torch.autograd.gradcheck(partial(value, False), inputs)
    assert torch.autograd.gradcheck(partial(value, True), inputs)
    assert torch.autograd.gradgradcheck(partial(value, True), inputs)  # what the inner loop lessens


def test_smoothed_labels_pull_all_but_other_positives_up_a_little_in_both_ways_of_counting():
    users, items, targets, log_q, known = some_batch()
    plain, smooth = RecallLoss(temperature=0.7), RecallLoss(temperature=0.7, label_smoothing=0.2)
    expected = plain.nll(users, items, targets, log_q, known, each=True).clone()
    logits = plain.logits(users, items, log_q)
    for b, of_user in enumerate(targets):
        asked = [(p, t) for p, row in enumerate(of_user.tolist()) for t in row if t >= 0]
        for p, t in asked:
            able = ~known[b] | torch.isin(torch.arange(6), of_user[p])
            expected[b] += 0.2 * (logits[b, p, t] - logits[b, p, able].mean()) / len(asked)
    torch.testing.assert_close(smooth.nll(users, items, targets, log_q, known, each=True), expected)
    n_targets = (targets >= 0).sum((1, 2))
    mean = (expected * n_targets).sum() / n_targets.sum()
    torch.testing.assert_close(smooth.nll(users, items, targets, log_q, known), mean)
    inputs = (users.requires_grad_(), items.requires_grad_())
    for each in (False, True):
        assert torch.autograd.gradcheck(lambda u, v: smooth.nll(u, v, targets, log_q, known, each=each), inputs)  # noqa: B023


def test_the_mean_over_all_targets_is_refused_a_second_derivative_rather_than_given_a_wrong_one():
    users, items, targets, log_q, known = some_batch()
    nll = RecallLoss().nll(users.requires_grad_(), items, targets, log_q, known)
    with pytest.raises(RuntimeError, match=r"differentiated once.*each=True"):
        torch.autograd.grad(nll, users, create_graph=True)


def test_a_target_is_pushed_up_alone_and_no_other_target_down():
    # scores 0: of a target against the one negative p = 1/2, so each target's logit is pulled by 1/2, by a mean of two
    items = torch.zeros(3, 1, requires_grad=True)
    RecallLoss(Dot(), temperature=1.0)(tensor([[1.0]]), items, tensor([[0, 1]])).total.backward()
    assert items.grad[:, 0].tolist() == pytest.approx([-0.25, -0.25, 0.5])


@pytest.mark.parametrize("kind", [RecallLoss, BinaryRecallLoss])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_vector_whose_candidates_are_all_targets_or_known_has_finite_gradients(kind, dtype):
    users = torch.ones(1, 1, 2, dtype=dtype, requires_grad=True)
    loss = kind(temperature=0.01)(
        users, torch.eye(3, 2, dtype=dtype), tensor([[[0, 1]]]), known=tensor([[False, False, True]])
    )
    loss.total.backward()
    assert users.grad.isfinite().all()
    if kind is RecallLoss:
        assert loss.nll.item() == 0


# -- each user alone ---------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(batches(), SIMILARITIES, st.sampled_from(["softmax", None, 0.5, 1.0]), st.integers(1, RELEVANT))
def test_each_users_own_loss_is_that_of_a_batch_of_one(batch, similarity, form, relevant):
    users, items, targets, log_q, known = batch
    targets = targets[..., :relevant]
    loss = RecallLoss(similarity) if form == "softmax" else BinaryRecallLoss(similarity, positive_weight=form)
    each = loss.nll(users, items, targets, log_q, known, each=True)
    one_by_one = [
        loss.nll(users[[b]], items, targets[[b]], log_q, None if known is None else known[[b]]) for b in range(BATCH)
    ]
    assert each.shape == (BATCH,)
    torch.testing.assert_close(each, torch.stack(one_by_one))
    assert (each[(targets < 0).flatten(1).all(1)] == 0).all()
