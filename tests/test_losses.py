import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import tensor

from recall_lightning.data.batches import log_batch_chance
from recall_lightning.losses import BinaryRecallLoss, RecallLoss
from recall_lightning.models.similarity import Cosine, Dot, Euclidean
from recall_lightning.regularizers import L2, Uniformity

BATCH, POSITIONS, CANDIDATES, DIM = 3, 2, 5, 2
COARSE = st.sampled_from([-2.0, -0.5, 0.0, 0.5, 3.0])  # zeros, opposite and equal vectors turn up
USERS = st.one_of(
    arrays(np.float64, (BATCH, DIM), elements=COARSE), arrays(np.float64, (BATCH, POSITIONS, DIM), elements=COARSE)
)


@st.composite
def batches(draw):
    """Arguments of a loss; a target may be missing, and is known to be a positive wherever anything is known."""
    users = draw(USERS)
    targets = draw(arrays(np.int64, users.shape[:-1], elements=st.integers(-1, CANDIDATES - 1)))
    items = draw(arrays(np.float64, (CANDIDATES, DIM), elements=COARSE))
    log_q = draw(st.none() | arrays(np.float64, CANDIDATES, elements=st.floats(-8, 0)))
    known = draw(st.none() | arrays(np.bool_, (BATCH, CANDIDATES)))
    if known is not None:
        for b in range(BATCH):
            for target in np.atleast_1d(targets[b]):
                known[b, target] |= target >= 0
    return tuple(None if a is None else torch.from_numpy(a) for a in (users, items, targets, log_q, known))


def slow_pairs(users, targets):
    """`(batch row, user vector, target)` of every target that is there."""
    for b in range(len(users)):
        vectors, rows = (users[b], targets[b]) if users.dim() == 3 else (users[b][None], targets[b][None])
        for user, target in zip(vectors, rows.tolist(), strict=True):
            if target >= 0:
                yield b, user, target


def slow_score(similarity, user, item):
    return float(similarity.pairs(user, item))  # tested against its own formula in tests/models/test_similarity.py


def slow_softmax_loss(similarity, t, users, items, targets, log_q, known):
    losses = []
    for b, user, target in slow_pairs(users, targets):
        logits = {}
        for c in range(len(items)):
            if c == target or known is None or not known[b, c]:
                logits[c] = slow_score(similarity, user, items[c]) / t - (0.0 if log_q is None else float(log_q[c]))
        top = max(logits.values())
        losses.append(top + math.log(math.fsum(math.exp(x - top) for x in logits.values())) - logits[target])
    return sum(losses) / len(losses) if losses else 0.0


def slow_binary_loss(similarity, t, alpha, positive_weight, users, items, targets, log_q, known):
    positive, negative = [], []  # (weight, cross-entropy) of each pair
    for b, user, target in slow_pairs(users, targets):
        for c in range(len(items)):
            z = (slow_score(similarity, user, items[c]) - alpha) / t
            if c == target:
                positive.append((1.0, softplus(-z)))  # -log p
            elif known is None or not known[b, c]:
                negative.append((1.0 if log_q is None else math.exp(-float(log_q[c])), softplus(z)))  # -log (1 - p)
    if positive_weight is None:
        return weighted_mean(positive) + weighted_mean(negative)
    return weighted_mean([(positive_weight * w, x) for w, x in positive] + negative)


def softplus(z):
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


def weighted_mean(pairs):
    return math.fsum(w * x for w, x in pairs) / math.fsum(w for w, _ in pairs) if pairs else 0.0


SIMILARITIES = st.sampled_from([Cosine(), Dot(), Euclidean()])
TEMPERATURES = st.sampled_from([0.05, 0.3, 1.0, 4.0])


# -- the softmax form --------------------------------------------------------------------------------------------------


@given(batches(), SIMILARITIES, TEMPERATURES)
def test_the_softmax_form_agrees_with_its_formula_candidate_by_candidate(batch, similarity, t):
    users, items, targets, log_q, known = batch
    loss = RecallLoss(similarity, temperature=t)(users, items, targets, log_q=log_q, known=known)
    expected = slow_softmax_loss(similarity, t, users, items, targets, log_q, known)
    assert loss.nll.dtype == torch.float64
    assert loss.nll.item() == pytest.approx(expected, rel=1e-5, abs=1e-5)  # the temperature itself is float32
    assert loss.total.item() == loss.nll.item()
    assert loss.penalty.item() == 0


def some_batch(dtype=torch.float64):
    torch.manual_seed(0)
    users, items = torch.randn(3, 2, 4, dtype=dtype), torch.randn(6, 4, dtype=dtype)
    targets = tensor([[0, 1], [-1, 2], [5, 3]])
    known = torch.zeros(3, 6, dtype=torch.bool)
    known[[0, 0, 0, 1, 2, 2], [0, 1, 4, 2, 3, 5]] = True
    return users, items, targets, torch.randn(6, dtype=dtype) - 2, known


@pytest.mark.parametrize("similarity", [Cosine(), Dot(), Euclidean()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("kind", [RecallLoss, BinaryRecallLoss])
def test_gradients_are_those_of_finite_differences(kind, similarity):
    users, items, targets, log_q, known = some_batch()
    loss = kind(similarity, temperature=0.7, learn_temperature=True).double()

    def total(users, items, *parameters):
        named = dict(zip(dict(loss.named_parameters()), parameters, strict=True))
        return torch.func.functional_call(loss, named, (users, items, targets), {"log_q": log_q, "known": known}).total

    inputs = [users, items, *(p.detach().clone() for p in loss.parameters())]
    assert torch.autograd.gradcheck(total, [x.requires_grad_() for x in inputs])


def test_the_learned_temperature_gets_the_gradient_of_the_formula():
    # logits s / t with s = (1, -1) and t = 1/2; d nll / d log t = s_target / t - sum_c p_c s_c / t
    loss = RecallLoss(temperature=0.5, learn_temperature=True)
    loss(tensor([[1.0]]), tensor([[1.0], [-1.0]]), tensor([0])).total.backward()
    p = 1 / (1 + math.exp(-4))
    assert loss.log_temperature.grad.item() == pytest.approx(2 - (2 * p - 2 * (1 - p)), rel=1e-5)
    assert loss.temperature.item() == pytest.approx(0.5)


def test_a_temperature_that_is_not_learned_is_no_trained_weight():
    assert [n for n, p in RecallLoss().named_parameters() if p.requires_grad] == []
    assert [n for n, p in BinaryRecallLoss().named_parameters() if p.requires_grad] == ["alpha"]


def test_a_training_step_on_the_temperature_keeps_it_above_zero():
    loss = RecallLoss(temperature=0.01, learn_temperature=True)
    optimizer = torch.optim.SGD(loss.parameters(), lr=10.0)
    for _ in range(3):
        optimizer.zero_grad()
        loss(tensor([[1.0, 0.0]]), tensor([[1.0, 0.1], [0.0, 1.0]]), tensor([0])).total.backward()
        optimizer.step()
    assert loss.temperature > 0


@pytest.mark.parametrize("kind", [RecallLoss, BinaryRecallLoss])
def test_a_known_positive_gets_no_gradient_as_a_negative_and_any_other_candidate_does(kind):
    users = tensor([[1.0, 0.2]])
    items = tensor([[1.0, 0.0], [0.9, 0.1], [0.2, 1.0]], requires_grad=True)
    kind(temperature=0.2)(users, items, tensor([0]), known=tensor([[True, True, False]])).total.backward()
    moved = items.grad.abs().sum(1) > 0
    assert moved.tolist() == [True, False, True]


@pytest.mark.parametrize("kind", [RecallLoss, BinaryRecallLoss])
def test_a_position_without_a_target_gets_no_gradient(kind):
    users, items, targets, log_q, known = some_batch()
    kind()(users.requires_grad_(), items, targets, log_q=log_q, known=known).total.backward()
    assert users.grad.abs().sum(-1).gt(0).tolist() == [[True, True], [False, True], [True, True]]


@pytest.mark.parametrize("kind", [RecallLoss, BinaryRecallLoss])
def test_a_batch_without_any_target_costs_nothing(kind):
    users, items, targets, log_q, known = some_batch()
    loss = kind()(users.requires_grad_(), items, torch.full_like(targets, -1), log_q=log_q, known=~known)
    loss.total.backward()
    assert loss.total.item() == 0
    assert users.grad.abs().sum() == 0


@pytest.mark.parametrize("log_q", [None, tensor([-30.0, -1e-6, -10.0])])
@pytest.mark.parametrize("known", [None, tensor([[True, True, True]] * 2)])  # all but the target
@pytest.mark.parametrize("positive_weight", [None, 1.0])
def test_extreme_scores_give_finite_losses_and_gradients(log_q, known, positive_weight):
    weighted = BinaryRecallLoss(temperature=0.01, alpha=-1.0, learn_temperature=True, positive_weight=positive_weight)
    for loss in (RecallLoss(temperature=0.01, learn_temperature=True), weighted):
        users = tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)  # cosines of 1, -1 and 0, by 0.01
        items = tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]], requires_grad=True)
        parts = loss(users, items, tensor([1, -1]), log_q=log_q, known=known)
        parts.total.backward()
        assert parts.total.isfinite()
        assert all(x.grad.isfinite().all() for x in [users, items, *loss.parameters()])


def test_a_row_in_which_all_but_the_target_is_known_costs_nothing():
    loss = RecallLoss()(tensor([[1.0, 0.0]]), torch.eye(2), tensor([1]), known=tensor([[True, True]]))
    assert loss.nll.item() == 0


@pytest.mark.parametrize("kind", [RecallLoss, BinaryRecallLoss])
def test_bfloat16_vectors_are_compared_in_float32_and_float64_ones_stay_float64(kind):
    users, items, targets, log_q, known = some_batch()
    for dtype, kept in [
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ]:
        loss = kind()(users.to(dtype), items.to(dtype), targets, log_q=log_q.to(kept), known=known)
        assert loss.nll.dtype == kept
        assert kind()(users.to(dtype), items.to(dtype), targets).nll.dtype == kept


def test_many_bfloat16_negatives_are_counted_exactly():
    # 2,049 pairs: bfloat16 would count 2,048 of them
    items = torch.zeros(2050, 1, dtype=torch.bfloat16)
    loss = BinaryRecallLoss(alpha=0.0, positive_weight=None, temperature=1.0)(items[:1], items, tensor([0]))
    assert loss.nll.item() == pytest.approx(2 * math.log(2), rel=1e-6)


@pytest.mark.parametrize("kind", [RecallLoss, BinaryRecallLoss])
@pytest.mark.parametrize("temperature", [0.0, -0.1, math.inf, math.nan])
def test_a_bad_temperature_fails_at_once_and_tells_the_cure(kind, temperature):
    with pytest.raises(ValueError, match=rf"temperature is {temperature},.*above 0, such as 0\.05"):
        kind(temperature=temperature)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_bad_share_of_smoothing_fails_at_once_and_tells_the_cure(share):
    with pytest.raises(ValueError, match=f"label_smoothing is {share}: give a share from 0"):
        RecallLoss(label_smoothing=share)


def test_the_total_is_the_likelihood_plus_every_regularizers_part():
    users, items, targets, *_ = some_batch()
    weights = {"item_tower.residual": tensor([[1.0, 2.0]], requires_grad=True)}
    uniformity, l2 = Uniformity(0.5), L2(0.1)
    loss = RecallLoss(regularizers=[uniformity, l2])(users, items, targets, parameters=weights)
    assert loss.penalty.item() == pytest.approx(uniformity(items, {}).item() + 0.1 * 2.5, rel=1e-6)
    assert loss.total.item() == pytest.approx(loss.nll.item() + loss.penalty.item(), rel=1e-6)


# -- log q -------------------------------------------------------------------------------------------------------------


def test_with_the_correction_the_ranking_is_by_what_users_want_and_with_the_other_sign_it_is_worse_than_without():
    want = tensor([[0.5, 0.4, 0.1], [0.8, 0.1, 0.1]])  # chance of each item, of two kinds of users
    counts = (want.mean(0) * 1000).round().long().numpy()  # item 0 is in nearly every batch
    log_q = torch.from_numpy(log_batch_chance(counts, drawn=4, n_negatives=0))
    right, without, wrong = (learn_from_batches_of_four(want, q) for q in (log_q, None, -log_q))
    assert right[0].argsort(descending=True).tolist() == [0, 1, 2]
    assert without[0].argmax() == 1  # what is popular is pushed away
    assert (right - want).abs().max() < 0.03
    assert 0.1 < (without - want).abs().max() < (wrong - want).abs().max() - 0.1


def learn_from_batches_of_four(want, log_q, n_steps=800):
    """The chances that a table of scores comes to stand for, the batch's items its candidates; a mean of late steps."""
    draws = torch.Generator().manual_seed(0)
    table = torch.zeros(2, 3, requires_grad=True)
    optimizer = torch.optim.Adam([table], lr=0.05)
    loss = RecallLoss(Dot(), temperature=1.0)
    late = []
    for _ in range(n_steps):
        kinds = torch.randint(2, (4,), generator=draws)
        taken = torch.multinomial(want[kinds], 1, generator=draws)[:, 0]
        items, targets = taken.unique(return_inverse=True)
        optimizer.zero_grad()
        q = None if log_q is None else log_q[items]
        loss(table[kinds], torch.eye(3)[items], targets, log_q=q).total.backward()
        optimizer.step()
        late.append(table.detach().softmax(-1))
    return torch.stack(late[n_steps // 2 :]).mean(0)


# -- the threshold form ------------------------------------------------------------------------------------------------


@given(
    batches(), SIMILARITIES, TEMPERATURES, st.sampled_from([-0.5, 0.0, 0.7]), st.sampled_from([None, 0.5, 1.0, 20.0])
)
def test_the_threshold_form_agrees_with_its_formula_pair_by_pair(batch, similarity, t, alpha, positive_weight):
    users, items, targets, log_q, known = batch
    loss = BinaryRecallLoss(similarity, temperature=t, alpha=alpha, positive_weight=positive_weight)
    expected = slow_binary_loss(similarity, t, alpha, positive_weight, users, items, targets, log_q, known)
    computed = loss(users, items, targets, log_q=log_q, known=known).nll
    assert computed.dtype == torch.float64
    assert computed.item() == pytest.approx(expected, rel=1e-5, abs=1e-5)


def chances_and_labels(loss, users, items, targets):
    p = ((loss.similarity(users, items) - loss.alpha) / loss.temperature).sigmoid().detach()
    y = torch.zeros_like(p).scatter(-1, targets[:, None], 1.0)
    return p, y


@given(arrays(np.float64, (4, 3), elements=COARSE), arrays(np.float64, (5, 3), elements=COARSE), TEMPERATURES,
       st.floats(-1, 1))  # fmt: skip
def test_the_gradient_in_alpha_is_the_mean_of_label_minus_chance_by_temperature(users, items, t, alpha):
    users, items, targets = torch.from_numpy(users), torch.from_numpy(items), tensor([0, 1, 1, 4])
    loss = BinaryRecallLoss(temperature=t, alpha=alpha).double()
    loss(users, items, targets).total.backward()
    p, y = chances_and_labels(loss, users, items, targets)
    assert loss.alpha.grad.item() == pytest.approx(float((y - p).sum() / (y.numel() * loss.temperature)), abs=1e-6)


@settings(max_examples=30)
@given(arrays(np.float64, (4, 3), elements=COARSE), arrays(np.float64, (5, 3), elements=COARSE), TEMPERATURES)
def test_at_the_best_alpha_the_mean_chance_is_the_share_of_positives(users, items, t):
    users, items, targets = torch.from_numpy(users), torch.from_numpy(items), tensor([0, 1, 1, 4])
    loss = BinaryRecallLoss(temperature=t).double()
    low, high = -50.0, 50.0  # the loss is convex in alpha: its slope tells on which side the optimum lies
    for _ in range(60):
        loss.alpha.data.fill_((low + high) / 2)
        loss.alpha.grad = None
        loss(users, items, targets).total.backward()
        low, high = (low, loss.alpha.item()) if loss.alpha.grad > 0 else (loss.alpha.item(), high)
    p, y = chances_and_labels(loss, users, items, targets)
    assert p.mean().item() == pytest.approx(y.mean().item(), abs=1e-6) == pytest.approx(1 / 5)


def test_a_score_reaches_alpha_exactly_where_its_cross_entropy_says_yes_more_than_no():
    loss = BinaryRecallLoss(Dot(), temperature=0.1, alpha=0.3)
    for s in (-1.0, 0.2, 0.3, 0.4, 2.0):
        pair = tensor([[s]]), tensor([[1.0]]), tensor([0])
        p = math.exp(-loss(*pair).nll.item())  # one candidate, which is the target: nll = -log p
        assert (s >= 0.3) == (p >= 0.5 - 1e-6)


@pytest.mark.parametrize("positive_weight", [0.0, -1.0, math.nan])
def test_a_bad_positive_weight_fails_at_once_and_tells_the_cure(positive_weight):
    with pytest.raises(ValueError, match=rf"positive_weight is {positive_weight}: give a number above 0, or null"):
        BinaryRecallLoss(positive_weight=positive_weight)
