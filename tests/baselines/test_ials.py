"""iALS: folding a user in."""

import numpy as np
import pytest

from recall_lightning.baselines.ials import IALS

implicit = pytest.importorskip("implicit.als", reason="the extra `compare` isn't installed")
TRAIN = [[0, 1, 2], [1, 2], [2, 3, 0, 1], [4, 5], [5, 4, 3], [0], [2, 5]]


def test_a_user_is_what_implicit_solves_for(fitted, ask, typed_train):
    from scipy import sparse

    ials = fitted(IALS(alpha=7.0, l2=0.5, factors=8, last=None), TRAIN, 6)
    model = implicit.AlternatingLeastSquares(factors=8, regularization=0.5, alpha=7.0, num_threads=1)
    model.item_factors = ials.items.numpy()
    asked = [[0, 2], [5], [1, 4, 3]]
    rows, columns = zip(*[(row, item) for row, history in enumerate(asked) for item in history], strict=True)
    taken = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(3, 6))
    users = model.recalculate_user(np.arange(3), taken)
    np.testing.assert_allclose(ask(ials, asked), users @ model.item_factors.T, rtol=1e-4, atol=1e-5)


def test_a_user_is_where_the_loss_is_least(fitted):
    import torch

    ials = fitted(IALS(alpha=3.0, l2=0.1, factors=4, last=None), TRAIN, 6)
    user = ials.fold_in(torch.tensor([[-1, 2, 5]]))[0].double().requires_grad_()
    weight = torch.tensor([1.0, 1.0, 3.0, 1.0, 1.0, 3.0]).double()
    taken = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0, 1.0]).double()
    loss = (weight * (taken - ials.items.double() @ user) ** 2).sum() + 0.1 * (user**2).sum()
    assert torch.autograd.grad(loss, user)[0].abs().max() < 1e-4


def test_equal_inputs_give_equal_scores_and_the_newest_items_alone_count(fitted, ask):
    one, other = (fitted(IALS(factors=8, last=2), TRAIN, 6) for _ in range(2))
    assert (ask(one, [[0, 2], []]) == ask(other, [[4, 0, 2], []])).all()
    assert np.argsort(-ask(one, [[]])[0], kind="stable")[0] == 2  # the most popular


def test_it_prints_and_warns_of_nothing(fitted, capfd, recwarn):
    fitted(IALS(), TRAIN, 6)
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
