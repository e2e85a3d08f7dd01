import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn, tensor
from transformers import BertConfig, BertModel

from recall_lightning.errors import InputError
from recall_lightning.losses import RecallLoss
from recall_lightning.models.encoder import TextEncoder
from recall_lightning.models.item_tower import ItemTower
from recall_lightning.models.recall_model import RecallModel
from recall_lightning.models.user_tower import TransformerTower
from recall_lightning.regularizers import L2, L2SP, Regularizer, Uniformity, select

ITEMS = torch.zeros(0, 2)


def weights():
    """Named as a module's: a residual, a layer's matrix and bias, a norm's weight, a frozen matrix."""
    return {
        "item_tower.residual": nn.Parameter(tensor([[1.0, 2.0], [0.0, -2.0]])),
        "encoder.dense.weight": nn.Parameter(tensor([[3.0, 0.0]])),
        "encoder.dense.bias": nn.Parameter(tensor([5.0])),
        "encoder.norm.weight": nn.Parameter(tensor([7.0, 7.0])),
        "encoder.frozen.weight": nn.Parameter(tensor([[11.0]]), requires_grad=False),
    }


# -- which weights -----------------------------------------------------------------------------------------------------


def test_biases_norms_and_frozen_weights_are_never_chosen():
    assert list(select(weights(), ["*"])) == ["item_tower.residual", "encoder.dense.weight"]


def test_a_weight_that_two_patterns_match_counts_once():
    assert L2(1.0, ["encoder.*", "*.weight"])(ITEMS, weights()).item() == 4.5


@pytest.mark.parametrize("names", [["*typo"], ["*residual", "*typo"], ["*bias*", "*typo"]])
@pytest.mark.parametrize("kind", [L2, L2SP])
def test_a_pattern_that_matches_nothing_is_told_with_the_cure(kind, names):
    with pytest.raises(InputError, match=r"names: '\*(typo|bias\*)' matches no trained matrix: .*'\*residual'.*true"):
        kind(1.0, names)(ITEMS, weights())
    assert issubclass(InputError, ValueError)


def test_the_default_names_choose_the_residual_and_the_encoder_of_a_real_model():
    config = BertConfig(vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    holder = nn.Module()  # RecallModule keeps its parts under these two names
    encoder, tower = TextEncoder(BertModel(config)), ItemTower(residual=True)
    holder.model = RecallModel(encoder, tower, TransformerTower(layers=1), counts=torch.ones(3), max_history=2)
    holder.loss = RecallLoss(regularizers=[L2(1.0), L2SP(1.0)])
    trained = {name: p for name, p in holder.named_parameters() if p.requires_grad}
    l2, l2sp = holder.loss.regularizers
    assert list(select(trained, l2.names)) == ["model.item_tower.residual"]
    matrices = {f"model.encoder.{name}" for name, p in encoder.named_parameters() if p.dim() > 1}
    assert set(select(trained, l2sp.names)) == matrices
    assert len(matrices) == 9  # three embeddings, and query, key, value, output, in and out of the only layer


# -- L2 ----------------------------------------------------------------------------------------------------------------


def test_l2_is_half_the_squared_length_and_its_gradient_the_weight_itself():
    named = weights()
    penalty = L2(0.5, ["*residual"])(ITEMS, named)
    assert penalty.item() == 0.5 * 0.5 * (1 + 4 + 0 + 4)
    penalty.backward()
    assert named["item_tower.residual"].grad.equal(0.5 * named["item_tower.residual"])
    assert named["encoder.dense.weight"].grad is None


# -- L2-SP -------------------------------------------------------------------------------------------------------------


def test_l2sp_is_zero_at_the_start_and_then_half_the_squared_distance_from_it():
    named, l2sp = weights(), L2SP(0.1, ["encoder.*"])
    assert l2sp(ITEMS, named).item() == 0
    named["encoder.dense.weight"].data += tensor([[1.0, -2.0]])
    penalty = l2sp(ITEMS, named)
    assert penalty.item() == pytest.approx(0.1 * 0.5 * 5)
    penalty.backward()
    torch.testing.assert_close(named["encoder.dense.weight"].grad, tensor([[0.1, -0.2]]))
    assert named["item_tower.residual"].grad is None


def test_l2sp_keeps_its_start_through_a_checkpoint(tmp_path):
    named = weights()
    loss = RecallLoss(regularizers=[L2SP(1.0, ["encoder.*"])])
    loss.regularizers[0](ITEMS, named)
    named["encoder.dense.weight"].data += 2
    torch.save(loss.state_dict(), tmp_path / "state.pt")

    resumed = RecallLoss(regularizers=[L2SP(1.0, ["encoder.*"])])
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert resumed.regularizers[0](ITEMS, named).item() == 0.5 * (4 + 4)  # of the weights before the save, not of these


def test_l2sp_can_be_told_its_start():
    named, l2sp = weights(), L2SP(1.0, ["encoder.*"])
    l2sp.remember(named)
    named["encoder.dense.weight"].data += 1
    assert l2sp(ITEMS, named).item() == 1.0


# -- uniformity --------------------------------------------------------------------------------------------------------


@given(arrays(np.float64, st.tuples(st.integers(2, 6), st.just(3)), elements=st.sampled_from([-2.0, -0.5, 0.5, 3.0])))
def test_uniformity_agrees_with_its_formula_pair_by_pair(items):
    unit = items / np.linalg.norm(items, axis=1, keepdims=True)
    n = len(unit)
    pairs = [math.exp(-2 * float(((unit[i] - unit[j]) ** 2).sum())) for i in range(n) for j in range(n) if i != j]
    expected = math.log(math.fsum(pairs) / len(pairs))
    assert Uniformity(1.0)(torch.from_numpy(items), {}).item() == pytest.approx(expected, abs=1e-9)


def test_uniformity_is_0_for_equal_vectors_whatever_their_lengths_and_minus_8_for_an_opposite_pair():
    assert Uniformity(1.0)(tensor([[3.0, 4.0], [0.6, 0.8], [30.0, 40.0]]), {}).item() == pytest.approx(0, abs=1e-6)
    assert Uniformity(1.0)(tensor([[3.0, 4.0], [-0.3, -0.4]]), {}).item() == pytest.approx(-8, abs=1e-6)


def test_lessening_uniformity_drives_vectors_apart():
    items = tensor([[1.0, 0.1], [1.0, -0.1]], requires_grad=True)
    Uniformity(1.0)(items, {}).backward()
    moved = items.detach() - 0.01 * items.grad
    assert nn.functional.cosine_similarity(moved[0], moved[1], dim=0) < nn.functional.cosine_similarity(*items, dim=0)


@pytest.mark.parametrize("items", [torch.zeros(0, 3), torch.ones(1, 3), torch.zeros(3, 3), torch.ones(3, 3)])
def test_uniformity_has_finite_and_moderate_gradients_of_few_zero_and_equal_vectors(items):
    items = items.requires_grad_()
    penalty = Uniformity(1.0)(items, {})
    penalty.backward()
    assert penalty.isfinite()
    assert (items.grad.abs() < 100).all()  # False for NaN, too
    if len(items) < 2:
        assert penalty.item() == 0


# -- lambda ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [L2, L2SP, Uniformity])
def test_the_weight_scales_the_penalty(kind):
    items, named = tensor([[1.0, 0.0], [0.0, 1.0]]), {"model.encoder.residual": nn.Parameter(torch.ones(2, 2))}
    penalties = []
    for weight in (0.0, 1.0, 3.0):
        regularizer = kind(weight)
        regularizer(items, named)
        penalties.append(regularizer(items, {n: p + 1 for n, p in named.items()}).item())
    assert penalties[0] == 0
    assert abs(penalties[1]) > 0
    assert penalties[2] == pytest.approx(3 * penalties[1])


@pytest.mark.parametrize("weight", [-0.1, math.nan])
@pytest.mark.parametrize("kind", [L2, L2SP, Uniformity])
def test_a_negative_weight_fails_at_once_and_tells_the_cure(kind, weight):
    with pytest.raises(ValueError, match=rf"weight is {weight}: a penalty needs a number from 0 up"):
        kind(weight)


def test_a_new_regularizer_needs_only_its_penalty():
    class MeanSquare(Regularizer):
        def penalty(self, items, parameters):
            return items.square().mean()

    assert MeanSquare(2.0)(tensor([[1.0, 3.0]]), {}).item() == 10.0
