import copy
import itertools
import math
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn, tensor

from recall_lightning.errors import InputError
from recall_lightning.losses import RecallLoss
from recall_lightning.meta import inner_loop, learn2learn
from recall_lightning.meta.fast_weights import LinearHead, Support, UserVector, WholeTower
from recall_lightning.meta.step_sizes import StepSizes
from recall_lightning.meta.updates import Updates
from recall_lightning.models.shift import Shift
from recall_lightning.models.similarity import Cosine, Dot, Euclidean
from recall_lightning.models.user_tower import AttentionTower, MeanTower, TransformerTower, UserTower

LENGTHS = [1, 2, 4, 3]


def transformer(heads=2):
    return TransformerTower(layers=2, heads=heads, dropout=0.0)


CHOICES = {
    "the user's vector": (UserVector, transformer),
    "the user's vector, no tower": (UserVector, MeanTower),
    "a linear head": (LinearHead, transformer),
    "all of a transformer": (WholeTower, transformer),
    "all of an attention": (WholeTower, AttentionTower),
}
every_choice = pytest.mark.parametrize("choice", CHOICES)
either_order = pytest.mark.parametrize("second_order", [True, False], ids=["second order", "first order"])
each_step_size = pytest.mark.parametrize(("learned", "per_step"), [
    ("no", False), ("tensor", False), ("tensor", True), ("element", False), ("element", True),
])  # fmt: skip


def of_choice(problem, choice, lengths=LENGTHS, **settings):
    fast, tower = CHOICES[choice]
    return problem(fast, tower(), lengths, **settings)


# -- one result from two engines ---------------------------------------------------------------------------------------


@every_choice
@either_order
@each_step_size
@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=["float64", "float32"])
def test_both_engines_give_the_same_vectors_losses_and_outer_gradient(
    problem, choice, second_order, learned, per_step, dtype, near
):
    pytest.importorskip("learn2learn")
    given = of_choice(problem, choice, learned=learned, per_step=per_step, dtype=dtype)
    (users, losses), (users_too, losses_too) = (
        given.adapt(engine, second_order=second_order) for engine in (inner_loop.adapt, learn2learn.adapt)
    )
    assert len(users) == len(losses) == 4
    query, query_too = given.query_loss(users), given.query_loss(users_too)
    for ours, theirs in zip([*users, *losses, query], [*users_too, *losses_too, query_too], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=near, atol=near)
    gradients, gradients_too = given.gradients(query), given.gradients(query_too)
    for name, gradient in gradients.items():
        torch.testing.assert_close(
            gradient, gradients_too[name], rtol=near, atol=near, msg=lambda m, n=name: f"{n}: {m}"
        )
    reached = {name for name, gradient in gradients.items() if gradient.any()}
    of_fast = {f"fast.{name}" for name, _ in given.fast.named_parameters()}
    if not second_order:
        of_fast -= {"fast.nobody"}  # it takes part in the steps alone
    assert {"items"} | of_fast <= reached
    assert ("rates" in {name.split(".")[0] for name in reached}) == (learned != "no")


# -- by hand -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("second_order", "gradient"), [(True, 5.04), (False, 8.4)], ids=["second order", "first order"]
)
def test_a_line_through_the_origin_adapts_as_worked_out_by_hand(engine, second_order, gradient):
    # y = w x with w = 3; support x = 2, wanted 4:  L(w) = (2 w - 4)^2 / 2 = 2,  L'(w) = 2 (2 w - 4) = 4,  L'' = 4
    # a step of 0.1: w' = 3 - 0.1 * 4 = 2.6,  y' = 5.2,  L(w') = 1.2^2 / 2 = 0.72
    # query: y' wanted 1:  Q = 4.2^2 / 2 = 8.82,  dQ/dw' = 2 * 4.2 = 8.4,  dw'/dw = 1 - 0.1 * L'' = 0.6
    # so dQ/dw = 0.6 * 8.4 = 5.04, or 8.4 if the step is taken for a constant;  dQ/drate = 8.4 * -L' = -33.6
    line = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(line.weight, 3.0)
    rates = StepSizes(line, rate=0.1, learned="tensor", per_step=False, steps=1).double()
    rates.values[0].data.fill_(0.1)  # the nearest float64
    support = Support((tensor([[[2.0]]], dtype=torch.float64),), tensor([[[4]]]))
    users, losses = engine(
        line, support, lambda y, wanted, _: ((y - wanted) ** 2).sum((1, 2)) / 2, rates, steps=1,
        second_order=second_order,
    )  # fmt: skip
    assert [user.item() for user in users] == pytest.approx([6.0, 5.2])
    assert [loss.item() for loss in losses] == pytest.approx([2.0, 0.72])
    query = (users[-1] - 1).square().sum() / 2
    assert query.item() == pytest.approx(8.82)
    query.backward()
    assert line.weight.grad.item() == pytest.approx(gradient)
    assert rates.values[0].grad.item() == pytest.approx(-33.6)


@either_order
def test_a_users_vector_under_a_softmax_adapts_as_worked_out_by_hand(engine, second_order):
    # u = (0, 0), items e1 and e2, scores u.v: p = (1/2, 1/2), and the support's target is e1: loss log 2
    # gradient p - (1, 0) = (-1/2, 1/2); a step of 1: u' = (1/2, -1/2), p1' = s = 1 / (1 + 1/e), loss -log s
    # query target e2: loss -log(1 - s), gradient p' - (0, 1) = (s, -s)
    # Hessian of the support loss at u: diag(p) - p p^T = 1/4 (1 -1; -1 1), so (I - H)(s, -s) = (s / 2, -s / 2)
    s = 1 / (1 + math.exp(-1))
    shift = Shift(2)
    items, loss = torch.eye(2), RecallLoss(Dot(), temperature=1.0)
    rates = StepSizes(shift, rate=1.0, learned="no", per_step=False, steps=1)
    support = Support((torch.zeros(1, 1, 2),), tensor([[[0]]]))
    users, losses = engine(
        shift, support, lambda u, targets, _: loss.nll(u, items, targets, each=True), rates, steps=1,
        second_order=second_order,
    )  # fmt: skip
    assert users[1][0].tolist() == pytest.approx([0.5, -0.5])
    assert [loss.item() for loss in losses] == pytest.approx([math.log(2), -math.log(s)])
    query = loss(users[1], items, tensor([1])).nll
    assert query.item() == pytest.approx(-math.log(1 - s))
    query.backward()
    expected = s / 2 if second_order else s
    assert shift.values.grad.tolist() == pytest.approx([expected, -expected])


# -- against a copy a user and finite differences ----------------------------------------------------------------------


def by_copies(problem, steps):
    """What each user's own copy of the module comes to by plain gradient descent: vectors and losses, by step."""
    support = problem.support()
    vectors = [[] for _ in range(steps + 1)]
    losses = [[] for _ in range(steps + 1)]
    for user in range(len(support.targets)):
        own, one = copy.deepcopy(problem.fast.adapted), support.one(user)
        one = Support(tuple(part.detach() for part in one.inputs), one.targets)
        descent = torch.optim.SGD(own.parameters(), lr=problem.rates.fixed)
        for step in range(steps + 1):
            output = own(*one.inputs)
            asked = output[:, : one.targets.shape[1]]
            loss = problem.support_loss(asked, one.targets, slice(user, user + 1))[0]
            vectors[step].append(output[0, -1].detach())
            losses[step].append(loss.detach())
            descent.zero_grad()
            loss.backward()
            descent.step()
    return [torch.stack(part) for part in vectors], [torch.stack(part) for part in losses]


@settings(deadline=None, max_examples=60)
@given(
    choice=st.sampled_from(list(CHOICES)), lengths=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    padding=st.integers(0, 2), dim=st.sampled_from([2, 4]), similarity=st.sampled_from([Cosine(), Dot(), Euclidean()]),
    steps=st.integers(0, 4), rate=st.sampled_from([0.01, 0.3]), second_order=st.booleans(), seed=st.integers(0, 3),
)  # fmt: skip
def test_a_batch_gives_what_a_copy_a_user_gives(
    problem, choice, lengths, padding, dim, similarity, steps, rate, second_order, seed
):
    width = max(1, *lengths, padding + max(lengths))
    given = of_choice(problem, choice, lengths, width=width, dim=dim, similarity=similarity, rate=rate, seed=seed)
    users, losses = given.adapt(inner_loop.adapt, steps=steps, second_order=second_order)
    expected = by_copies(given, steps)
    for part, expected_part in zip((users, losses), expected, strict=True):
        torch.testing.assert_close(torch.stack(part), torch.stack(expected_part), rtol=1e-9, atol=1e-9)


class Whole(nn.Module):
    """A problem as one function of its weights."""

    def __init__(self, given):
        super().__init__()
        self.tower, self.fast, self.rates, self.items, self.given = (
            given.tower,
            given.fast,
            given.rates,
            given.items,
            given,
        )

    def forward(self):
        self.given.items = self.items  # the one that stands in for it
        return self.given.query_loss(self.given.adapt(inner_loop.adapt, steps=2)[0])


@every_choice
@pytest.mark.parametrize(("learned", "per_step"), [("tensor", True), ("element", False)])
def test_the_second_order_outer_gradient_is_that_of_finite_differences(problem, choice, learned, per_step):
    given = of_choice(problem, choice, [1, 3], n_items=4, learned=learned, per_step=per_step, steps=2)
    whole = Whole(given)
    names, weights = zip(*whole.named_parameters(), strict=True)

    def query(*weights):
        return torch.func.functional_call(whole, dict(zip(names, weights, strict=True)), ())

    assert torch.autograd.gradcheck(
        query, [weight.detach().clone().requires_grad_() for weight in weights], fast_mode=True
    )


@every_choice
def test_second_order_is_another_gradient_of_the_same_result(problem, choice):
    given = of_choice(problem, choice)
    (users, losses), (users_too, losses_too) = (
        given.adapt(inner_loop.adapt, second_order=second_order) for second_order in (True, False)
    )
    torch.testing.assert_close([*users, *losses], [*users_too, *losses_too], rtol=0, atol=0)
    second, first = given.gradients(given.query_loss(users)), given.gradients(given.query_loss(users_too))
    for name, _ in given.fast.adapted.named_parameters():
        part = "tower" if choice.startswith("all of") else "fast.adapted"
        if name != "score.bias":  # a softmax doesn't see it
            assert (second[f"{part}.{name}"] - first[f"{part}.{name}"]).abs().max() > 1e-4, name


# -- a user is alone ---------------------------------------------------------------------------------------------------


@every_choice
def test_nobody_else_in_the_batch_changes_a_users_result(problem, choice):
    given = of_choice(problem, choice)
    users, losses = given.adapt(inner_loop.adapt)
    for user in range(len(LENGTHS)):
        alone = copy.copy(given)
        alone.history = given.history[user : user + 1]
        users_alone, losses_alone = alone.adapt(inner_loop.adapt)
        torch.testing.assert_close(torch.cat(users_alone), torch.stack([u[user] for u in users]))
        torch.testing.assert_close(torch.cat(losses_alone), torch.stack([loss[user] for loss in losses]))


@every_choice
def test_more_padding_changes_nothing(problem, choice):
    given = of_choice(problem, choice)
    padding = torch.full((len(LENGTHS), 3), -1)
    users, losses = given.adapt(inner_loop.adapt)
    users_too, losses_too = given.adapt(inner_loop.adapt, history=torch.cat([padding, given.history], 1))
    torch.testing.assert_close([*users, *losses], [*users_too, *losses_too])


@every_choice
@either_order
def test_a_user_without_support_stays_at_the_start_and_gets_no_nan(problem, engine, choice, second_order):
    given = of_choice(problem, choice, [0, 3], learned="tensor")
    users, losses = given.adapt(engine, second_order=second_order)
    for step in range(4):
        torch.testing.assert_close(users[step][0], users[0][0], rtol=0, atol=0)
        assert losses[step][0] == 0
    assert not torch.allclose(users[3][1], users[0][1])
    gradients = given.gradients(given.query_loss(users))
    assert all(gradient.isfinite().all() for gradient in gradients.values())


@every_choice
def test_a_step_lessens_each_users_own_loss(problem, choice):
    given = of_choice(problem, choice, [3, 4, 3], rate=0.01)
    _, losses = given.adapt(inner_loop.adapt, steps=4)
    for before, after in itertools.pairwise(losses):
        assert (after < before).all()


# -- what stays as it was ----------------------------------------------------------------------------------------------


def bytes_of(given):
    return {name: weight.detach().numpy().tobytes() for name, weight in given.weights.items()}


@every_choice
def test_adapting_leaves_the_shared_weights_and_later_answers_byte_for_byte(problem, engine, choice):
    given = of_choice(problem, choice, learned="tensor")
    inputs = given.support().inputs
    weights, answer = bytes_of(given), given.fast.adapted(*inputs).detach().numpy().tobytes()
    given.adapt(engine)
    assert bytes_of(given) == weights
    assert all(weight.grad is None for weight in given.weights.values())
    assert given.fast.adapted(*inputs).detach().numpy().tobytes() == answer


def hooks_of(module):
    return [hook for part in module.modules() for hook in part._forward_hooks]


@every_choice
def test_no_hook_is_left_behind(problem, choice):
    given = of_choice(problem, choice)
    adapted = given.fast.adapted
    with Updates(adapted, len(LENGTHS)) as updates:
        assert len(hooks_of(adapted)) == len(updates.by_name) > 0
    assert hooks_of(adapted) == []


@every_choice
def test_no_hook_is_left_behind_by_an_inner_loop_that_fails(problem, choice):
    given = of_choice(problem, choice)
    with pytest.raises(ZeroDivisionError):
        inner_loop.adapt(
            given.fast.adapted, given.support(), lambda *_: 1 / 0, given.rates, steps=1, second_order=True
        )  # fmt: skip
    assert hooks_of(given.fast.adapted) == []


@every_choice
def test_serving_adapts_frozen_weights_where_gradients_are_off(problem, choice):
    given = of_choice(problem, choice)
    expected, _ = given.adapt(inner_loop.adapt)
    for weight in given.weights.values():
        weight.requires_grad_(False)
    with torch.no_grad():
        users, _ = given.adapt(inner_loop.adapt, second_order=False)
    torch.testing.assert_close(users, expected)


# -- step sizes --------------------------------------------------------------------------------------------------------


@each_step_size
def test_a_step_beyond_the_learned_ones_has_the_last_ones_size(problem, engine, learned, per_step):
    given = of_choice(problem, "a linear head", learned=learned, per_step=per_step, steps=2)
    torch.testing.assert_close(given.rates.at(5), given.rates.at(1), rtol=0, atol=0)
    n = 2 if per_step else 1
    assert {len(values) for values in given.rates.values} == {n}

    longer = StepSizes(given.fast.adapted, rate=0.0, learned=learned, per_step=True, steps=4).double()
    with torch.no_grad():
        for values, short in zip(longer.values, given.rates.values, strict=True):
            for step in range(4):
                values[step] = short[min(step, n - 1)]
    if learned != "no":  # a fixed one is the same for all
        users, _ = given.adapt(engine, steps=4)
        given.rates = longer
        torch.testing.assert_close(users, given.adapt(engine, steps=4)[0], rtol=0, atol=0)


def test_step_sizes_are_trained_only_where_they_are_learned():
    head = nn.Linear(2, 3)
    fixed = StepSizes(head, rate=0.25, learned="no", per_step=False, steps=5)
    assert fixed.fixed == 0.25
    assert not any(value.requires_grad for value in fixed.parameters())
    shapes = {}
    for learned in ("tensor", "element"):
        sizes = StepSizes(head, rate=0.25, learned=learned, per_step=True, steps=5)
        assert sizes.fixed is None
        assert all(value.requires_grad for value in sizes.parameters())
        shapes[learned] = [tuple(value.shape) for value in sizes.values]
        assert list(sizes.at(0)) == ["weight", "bias"]
    assert shapes == {"tensor": [(5,), (5,)], "element": [(5, 3, 2), (5, 3)]}


# -- what can't be -----------------------------------------------------------------------------------------------------


class RecurrentTower(UserTower):
    def shape(self, dim, max_history):
        self.gru = nn.GRU(dim, dim, batch_first=True)

    def forward(self, vectors, present):
        return self.gru(vectors)[0]


def test_weights_that_have_no_update_are_refused_by_the_batched_engine_which_names_the_other(problem):
    given = problem(WholeTower, RecurrentTower(), LENGTHS)
    message = (
        r"weights of a GRU can't be adapted for many users at once: Linear, Shift, LayerNorm, LagBias can\. "
        r"Use model\.inner_loop\.engine: learn2learn"
    )
    with pytest.raises(InputError, match=message):
        given.adapt(inner_loop.adapt)
    assert hooks_of(given.tower) == []
    pytest.importorskip("learn2learn")
    _, losses = given.adapt(learn2learn.adapt)
    assert (losses[3][1:] < losses[0][1:]).all()


class OddTower(UserTower):
    """Has a layer, and a way to call it that no update follows."""

    def __init__(self, call):
        super().__init__()
        self.call = call

    def shape(self, dim, max_history):
        self.layer = nn.Linear(dim, dim) if self.call != "a norm a head" else nn.LayerNorm(dim // 2)

    def forward(self, vectors, present):
        if self.call == "twice":
            return self.layer(self.layer(vectors))
        if self.call == "all users' positions as one":
            return self.layer(vectors.flatten(0, 1)[None]).view_as(vectors)
        return self.layer(vectors.unflatten(-1, (2, -1))).flatten(-2)


@pytest.mark.parametrize(("call", "message"), [
    ("twice", r"a Linear that is called twice in one pass"),
    ("all users' positions as one", r"a Linear that is called with an output of \(1, 16, 4\)"),
    ("a norm a head", r"a LayerNorm that is called with an output of \(4, 4, 2, 2\)"),
])  # fmt: skip
def test_a_layer_called_in_a_way_that_its_update_would_get_wrong_is_refused(problem, call, message):
    given = problem(WholeTower, OddTower(call), LENGTHS)
    with pytest.raises(InputError, match=rf"{message} can't be adapted .*: it must give 4 users a row each"):
        given.adapt(inner_loop.adapt)
    assert hooks_of(given.tower) == []


class BiaslessTower(UserTower):
    def shape(self, dim, max_history):
        self.layers = nn.Sequential(nn.LayerNorm(dim, bias=False), nn.Linear(dim, dim, bias=False))

    def forward(self, vectors, present):
        return self.layers(vectors)


@each_step_size
def test_layers_without_a_bias_are_adapted_too(problem, learned, per_step):
    pytest.importorskip("learn2learn")
    given = problem(WholeTower, BiaslessTower(), LENGTHS, learned=learned, per_step=per_step)
    torch.testing.assert_close(given.adapt(inner_loop.adapt), given.adapt(learn2learn.adapt))


def test_a_missing_learn2learn_is_told_with_the_line_that_installs_it(problem, monkeypatch):
    monkeypatch.setitem(sys.modules, "learn2learn.algorithms", None)
    given = of_choice(problem, "the user's vector")
    with pytest.raises(InputError, match=r'engine learn2learn: .*Install it: pip install "learn2learn==0\.2\.0"'):
        given.adapt(learn2learn.adapt)


def test_a_tower_without_weights_is_refused_as_fast_weights():
    with pytest.raises(ValueError, match="MeanTower has no weights to adapt: choose UserVector or LinearHead"):
        WholeTower().shape(4, MeanTower())


# -- what is asked of a support ----------------------------------------------------------------------------------------


def test_each_choice_asks_the_first_positions_for_what_came_next(problem):
    history = tensor([[-1, -1, 5], [-1, 7, 2], [3, 1, 4]])

    def asked(fast, tower):
        return problem(fast, tower, [1, 2, 3]).support(history).targets.tolist()

    assert asked(UserVector, MeanTower()) == [[[-1, -1, 5]], [[-1, 7, 2]], [[3, 1, 4]]]
    # before all items, after the first, after the second
    assert asked(LinearHead, MeanTower()) == [[[-1], [-1], [5]], [[-1], [7], [2]], [[3], [1], [4]]]
    # after the first, after the second: a padded position doesn't ask for the first item
    assert asked(WholeTower, AttentionTower()) == [[[-1], [-1]], [[-1], [2]], [[1], [4]]]


def test_a_head_starts_from_what_the_tower_says_and_before_the_first_item_from_a_vector_of_its_own(problem):
    given = problem(LinearHead, MeanTower(), [1, 2])
    (inputs,) = given.support().inputs
    first, second = given.items[given.history[1]]
    nobody = given.fast.nobody
    torch.testing.assert_close(inputs[0], torch.stack([nobody, nobody, given.items[given.history[0, 1]]]))
    torch.testing.assert_close(inputs[1], torch.stack([nobody, first, (first + second) / 2]))


@every_choice
def test_before_adaptation_a_user_is_the_towers_answer(problem, choice):
    fast, tower = CHOICES[choice]
    tower, weights = tower(), fast()
    tower.shape(4, 4)
    weights.shape(4, tower)
    vectors, present = torch.randn(2, 3, 4), tensor([[False, False, True], [True, True, True]])
    support = weights.support(tower, vectors, present, tensor([[-1, -1, 0], [1, 2, 3]]))
    torch.testing.assert_close(weights.adapted(*support.inputs)[:, -1], tower(vectors, present)[:, -1])
