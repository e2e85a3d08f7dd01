import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import tensor

from recall_lightning.errors import InputError
from recall_lightning.models.user_tower import AttentionTower, MeanTower, TextTower, TransformerTower, causal

DIM, MAX_HISTORY = 4, 6
TOWERS = {
    "mean": MeanTower(),
    "mean of the last 2": MeanTower(last=2),
    "attention": AttentionTower(),
    "transformer": TransformerTower(layers=2, heads=2, dropout=0.5),
}


def shaped(name, *, training=False):
    """A tower whose every weight is random: what starts at zero would hide mistakes."""
    torch.manual_seed(0)
    tower = copy.deepcopy(TOWERS[name])
    tower.shape(DIM, MAX_HISTORY)
    for weight in tower.parameters():
        torch.nn.init.normal_(weight)
    return tower.train(training)


def histories(*lengths, width=MAX_HISTORY):
    """Random items at the right, zeros at the left; which are there."""
    torch.manual_seed(1)
    present = torch.arange(width) >= width - tensor(lengths)[:, None]
    return torch.randn(len(lengths), width, DIM) * present[..., None], present


every_tower = pytest.mark.parametrize("tower", TOWERS)


@every_tower
@pytest.mark.parametrize("n_padding", [0, 2])
def test_later_items_change_no_earlier_output(tower, n_padding):
    tower = shaped(tower)
    vectors, present = histories(MAX_HISTORY - n_padding)
    before = tower(vectors, present)
    for t in range(MAX_HISTORY - 1):
        changed = vectors.clone()
        changed[:, t + 1 :] = changed[:, t + 1 :].roll(1, -1)
        after = tower(changed, present)
        torch.testing.assert_close(after[:, : t + 1], before[:, : t + 1])
        assert not torch.allclose(after[:, -1], before[:, -1])


@every_tower
def test_no_gradient_flows_from_an_output_to_later_items(tower):
    tower = shaped(tower)
    vectors, present = histories(4)
    for t in range(MAX_HISTORY):
        vectors.grad = None
        tower(vectors.requires_grad_(), present)[0, t].square().sum().backward()
        assert vectors.grad[0, t + 1 :].abs().sum() == 0
        assert vectors.grad[0, t].any() or not present[0, t]


@every_tower
def test_more_padding_changes_no_output(tower):
    tower = shaped(tower)
    vectors, present = histories(2, 3, width=3)
    wider = (
        torch.cat([torch.zeros(2, 3, DIM), vectors], 1),
        torch.cat([torch.zeros(2, 3, dtype=torch.bool), present], 1),
    )
    outputs = tower(*wider)[:, 3:]
    torch.testing.assert_close(outputs[present], tower(vectors, present)[present])


@every_tower
def test_a_history_in_a_batch_gets_what_it_gets_alone(tower):
    tower = shaped(tower)
    vectors, present = histories(1, 3, MAX_HISTORY)
    together = tower(vectors, present)
    for row, length in enumerate([1, 3, MAX_HISTORY]):
        alone = tower(vectors[row : row + 1, -length:], present[row : row + 1, -length:])
        torch.testing.assert_close(together[row, -length:], alone[0])


@every_tower
def test_the_vector_after_a_position_is_the_last_one_of_the_history_cut_there(tower):
    tower = shaped(tower)
    vectors, present = histories(MAX_HISTORY)
    outputs = tower(vectors, present)
    for t in range(1, MAX_HISTORY + 1):
        torch.testing.assert_close(outputs[:, t - 1], tower(vectors[:, :t], present[:, :t])[:, -1])


@every_tower
@pytest.mark.parametrize("training", [False, True])
def test_empty_histories_give_no_nan_in_outputs_or_gradients(tower, training):
    tower = shaped(tower, training=training)
    vectors, present = histories(0, 2, MAX_HISTORY)
    outputs = tower(vectors.requires_grad_(), present)
    outputs.square().sum().backward()
    assert outputs.shape == (3, MAX_HISTORY, DIM)
    assert outputs.isfinite().all()
    assert all(x.grad.isfinite().all() for x in [vectors, *tower.parameters()])


@pytest.mark.parametrize("tower", ["mean", "mean of the last 2", "attention"])
def test_a_mean_of_no_items_is_zero(tower):
    vectors, present = histories(0, 2)
    outputs = shaped(tower)(vectors, present)
    assert (outputs[~present] == 0).all()
    assert (outputs[present] != 0).all()


@every_tower
def test_a_history_longer_than_the_longest_in_training_still_has_a_vector(tower):
    vectors, present = histories(MAX_HISTORY + 5, width=MAX_HISTORY + 5)
    assert shaped(tower)(vectors, present).isfinite().all()


@every_tower
def test_every_weight_is_trained(tower):
    tower = shaped(tower)
    vectors, present = histories(3, MAX_HISTORY)
    tower(vectors.requires_grad_(), present).pow(3).sum().backward()
    for name, weight in tower.named_parameters():
        assert weight.grad is not None, name  # else DDP stops with an error


# -- against loops -----------------------------------------------------------------------------------------------------

VECTORS = arrays(np.float32, (2, 5, 3), elements=st.sampled_from([-2.0, -0.5, 0.0, 0.5, 3.0]))
LENGTHS = st.tuples(st.integers(0, 5), st.integers(0, 5))


@given(VECTORS, LENGTHS, st.none() | st.integers(1, 6))
def test_the_mean_tower_agrees_with_a_loop(vectors, lengths, last):
    present = np.arange(5) >= 5 - np.array(lengths)[:, None]
    outputs = MeanTower(last)(torch.from_numpy(vectors), torch.from_numpy(present)).numpy()
    for b in range(2):
        for t in range(5):
            items = [vectors[b, j] for j in range(t + 1) if present[b, j]][-last if last else None :]
            expected = sum(items) / len(items) if items else np.zeros(3)
            np.testing.assert_allclose(outputs[b, t], expected, atol=1e-6)


@given(VECTORS, LENGTHS, arrays(np.float32, 3, elements=st.floats(-2, 2, width=32)),
       arrays(np.float32, 4, elements=st.floats(-2, 2, width=32)))  # fmt: skip
def test_the_attention_tower_agrees_with_a_loop(vectors, lengths, score, lag):
    present = np.arange(5) >= 5 - np.array(lengths)[:, None]
    vectors = vectors * present[..., None]
    tower = AttentionTower()
    tower.shape(3, 4)  # lags from 3 up share a bias
    tower.score.weight.data[0] = torch.from_numpy(score)
    tower.lag.values.data[0] = torch.from_numpy(lag)
    outputs = tower(torch.from_numpy(vectors), torch.from_numpy(present)).detach().numpy()
    for b in range(2):
        for t in range(5):
            seen = [j for j in range(t + 1) if present[b, j]]
            weights = [math.exp(float(score @ vectors[b, j]) + float(lag[min(t - j, 3)])) for j in seen]
            expected = sum(w * vectors[b, j] for w, j in zip(weights, seen, strict=True)) / sum(weights) if seen else 0
            np.testing.assert_allclose(outputs[b, t], np.broadcast_to(expected, 3), atol=1e-4)


def test_the_attention_tower_starts_as_the_plain_mean():
    tower = AttentionTower()
    tower.shape(DIM, MAX_HISTORY)
    vectors, present = histories(0, 3, MAX_HISTORY)
    torch.testing.assert_close(tower(vectors, present), MeanTower()(vectors, present))


def test_the_order_of_items_matters_to_the_transformer_by_its_lags_alone():
    tower = shaped("transformer")
    vectors, present = histories(3, width=3)
    swapped = vectors[:, [1, 0, 2]]
    assert not torch.allclose(tower(vectors, present)[:, -1], tower(swapped, present)[:, -1])
    for block in tower.blocks:
        block.lag.values.data.zero_()
    # nothing else knows a position; the first block's outputs before the last do, so one block is left
    tower.blocks = tower.blocks[:1]
    torch.testing.assert_close(tower(vectors, present)[:, -1], tower(swapped, present)[:, -1])


def test_causal_lists_what_each_position_sees():
    present = tensor([[False, True, True, True]])
    assert causal(present)[0].int().tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 1, 1, 1]]
    assert causal(present, 2)[0].int().tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]


# -- dropout -----------------------------------------------------------------------------------------------------------


def test_the_transformer_tower_draws_in_training_alone():
    vectors, present = histories(MAX_HISTORY)
    training, evaluated = shaped("transformer", training=True), shaped("transformer")
    assert not torch.equal(training(vectors, present), training(vectors, present))
    assert torch.equal(evaluated(vectors, present), evaluated(vectors, present))


def test_without_dropout_training_and_evaluation_agree():
    tower = TransformerTower(dropout=0.0)
    tower.shape(DIM, MAX_HISTORY)
    vectors, present = histories(2, MAX_HISTORY)
    torch.testing.assert_close(tower.train()(vectors, present), tower.eval()(vectors, present))


# -- the tower that reads text -----------------------------------------------------------------------------------------


def test_the_text_towers_user_is_the_vector_of_the_joined_text():
    vectors = torch.randn(3, 1, DIM)
    assert TextTower()(vectors, torch.ones(3, 1, dtype=torch.bool)) is vectors
    assert TextTower.reads_text
    assert not any(tower.reads_text for tower in TOWERS.values())


# -- bad arguments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("build", "message"), [
    (lambda: MeanTower(last=0), r"last is 0, but a mean needs an item: give 1 or more, or null for all"),
    (lambda: TransformerTower(layers=0), r"layers is 0: give 1 or more"),
    (lambda: TransformerTower(heads=-1), r"heads is -1: give 1 or more"),
    (lambda: TransformerTower(dropout=1.0), r"dropout is 1\.0: give a share from 0 up to, but below, 1"),
    (lambda: TransformerTower(dropout=-0.1), r"dropout is -0\.1: give a share"),
    (lambda: TransformerTower(dropout=math.nan), r"dropout is nan: give a share"),
])  # fmt: skip
def test_a_bad_argument_fails_at_once_and_tells_the_cure(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_heads_that_do_not_divide_the_width_are_told_by_their_key():
    with pytest.raises(InputError, match=r"model\.user_tower\.init_args\.heads is 3, .*width of 4 evenly: give a div"):
        TransformerTower(heads=3).shape(4, MAX_HISTORY)
