import copy
import itertools
import math
import pickle
from statistics import mean

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import tensor
from torch.nn import functional as F
from torchmetrics import MetricCollection

from recall_lightning.metrics import (
    BeyondAccuracy,
    coverage,
    exposure,
    gini,
    intra_list_diversity,
    novelty,
    popularity_lift,
)

COUNTS = tensor([7, 3, 1, 0])  # of 7 users: everyone took item 0, nobody item 3
LISTS = tensor([[0, 1, 3], [3, -1, -1], [-1, -1, -1], [2, 0, 1], [1, 2, -1]])
HISTORY = tensor([[0, -1], [1, 2], [0, 1], [-1, -1], [2, -1]])
VECTORS = tensor([[3.0, 0.0], [0.0, 2.0], [1.0, 1.0], [-1.0, 0.0]])


def test_exposure_counts_each_item_of_the_catalogue_and_no_padding():
    assert exposure(LISTS, 5).tolist() == [2, 3, 2, 2, 0]
    assert exposure(tensor([[-1, -1]]), 2).tolist() == [0, 0]


def test_lists_of_another_catalogue_are_named_with_the_cure():
    with pytest.raises(ValueError, match=r"row 9, but there are 4 items: give the lists' own catalogue"):
        exposure(tensor([[0, 9]]), 4)


def test_coverage_is_the_share_of_items_shown_at_least_once():
    assert float(coverage(tensor([9, 0, 1, 0]))) == 0.5
    assert float(coverage(tensor([0, 0]))) == 0


def test_gini_is_0_if_all_items_are_shown_alike_and_1_if_a_single_one_is():
    assert float(gini(tensor([5, 5, 5]))) == 0
    assert float(gini(tensor([0, 9, 0]))) == 1
    assert float(gini(tensor([4, 0, 4]))) == 0.5  # an item that is never shown is part of the inequality


@pytest.mark.parametrize("shown", [[0, 0, 0], [4]])
def test_gini_is_0_where_there_is_nothing_to_tell_apart(shown):
    assert float(gini(tensor(shown, dtype=torch.int64))) == 0


@given(st.lists(st.integers(0, 2**20), min_size=2, max_size=9).filter(any))
def test_gini_agrees_with_the_differences_of_all_pairs(shown):
    differences = sum(abs(a - b) for a, b in itertools.combinations(shown, 2))
    assert float(gini(tensor(shown))) == pytest.approx(differences / ((len(shown) - 1) * sum(shown)))


def test_popularity_lift_is_above_0_for_a_list_more_popular_than_the_users_own_taste():
    lift = popularity_lift(tensor([[0, 2], [3, -1], [1, 2]]), tensor([[2, -1], [0, 3], [2, 1]]), COUNTS)
    assert lift.tolist() == pytest.approx([(math.log(8) - math.log(2)) / 2, -math.log(8) / 2, 0])


def test_popularity_lift_of_an_empty_list_or_history_is_no_number():
    lift = popularity_lift(tensor([[-1, -1], [0, 1]]), tensor([[0], [-1]]), COUNTS)
    assert lift.isnan().all()
    assert popularity_lift(tensor([[0]]), torch.zeros(1, 0, dtype=torch.int64), COUNTS).isnan().all()


def test_novelty_is_0_bits_of_what_everyone_took_and_finite_of_what_nobody_did():
    bits = novelty(tensor([[0, -1], [1, -1], [3, -1], [1, 3], [-1, -1]]), COUNTS, 7)
    assert bits[:4].tolist() == [0, 1, 3, 2]  # -log2 of 8/8, 4/8, 1/8
    assert bits[4].isnan()


def test_diversity_is_0_of_equal_directions_1_of_right_angles_2_of_opposites():
    vectors = tensor([[1.0, 1.0, 0.0], [3.0, 3.0, 0.0], [0.0, 0.0, 0.1], [-1.0, -1.0, 0.0]])
    lists = tensor([[0, 1, -1], [0, 2, -1], [0, 3, -1], [0, 1, 2]])
    assert intra_list_diversity(lists, vectors).tolist() == pytest.approx([0, 1, 2, 2 / 3], abs=1e-6)


def test_diversity_of_equal_vectors_is_not_rounded_below_0():
    lists = torch.arange(100)[:, None].expand(-1, 50)  # each item fifty times
    diversity = intra_list_diversity(lists, torch.randn(100, 9, generator=torch.Generator().manual_seed(0)))
    assert float(diversity.min()) == 0


def test_diversity_of_fewer_than_two_items_is_no_number():
    assert intra_list_diversity(tensor([[-1, -1], [1, -1], [1, 0]]), VECTORS).isnan().tolist() == [True, True, False]


@given(arrays(np.float32, (6, 3), elements=st.sampled_from([-2.0, -0.5, 0.0, 0.25, 1.0])),  # zero vectors among them
       arrays(np.int64, (4, 5), elements=st.integers(-1, 5)))  # fmt: skip
def test_diversity_agrees_with_a_loop_over_pairs(vectors, lists):
    lists = -np.sort(-lists)  # padding at the right
    for found, row in zip(
        intra_list_diversity(torch.from_numpy(lists), torch.from_numpy(vectors)).tolist(), lists, strict=True
    ):
        pairs = list(itertools.combinations([vectors[item] for item in row if item >= 0], 2))
        expected = mean(1 - slow_cosine(a, b) for a, b in pairs) if pairs else math.nan
        assert found == pytest.approx(expected, abs=1e-5, nan_ok=True)


def slow_cosine(a, b):
    lengths = math.hypot(*a) * math.hypot(*b)
    return float(sum(x * y for x, y in zip(a, b, strict=True))) / lengths if lengths else 0.0


def test_diversity_of_half_precision_vectors_is_summed_in_float32():
    vectors, lists = torch.randn(40, 16, generator=torch.Generator().manual_seed(0)).bfloat16(), torch.arange(40)[None]
    assert float(intra_list_diversity(lists, vectors)) == pytest.approx(
        float(intra_list_diversity(lists, vectors.double())), abs=1e-6
    )


def test_the_metric_gives_means_over_the_users_that_have_a_value():
    metric = BeyondAccuracy(2, COUNTS, 7, VECTORS)
    metric.update(LISTS[:2], HISTORY[:2])
    metric.update(LISTS[2:], HISTORY[2:])
    log = math.log
    lifts = [(log(8) + log(4)) / 2 - log(8), 0 - (log(4) + log(2)) / 2, (log(4) + log(2)) / 2 - log(2)]
    cosines = [0, math.sqrt(0.5), math.sqrt(0.5)]
    assert {name: float(value) for name, value in metric.compute().items()} == pytest.approx({
        "coverage@2": 1,
        "gini@2": 1 / 7,  # the first two of each list show the items 2, 2, 1 and 2 times
        "popularity_lift@2": mean(lifts),
        "novelty@2": mean([0.5, 3, 1, 1.5]),
        "diversity@2": mean(1 - cosine for cosine in cosines),
    })  # fmt: skip


def test_without_vectors_there_is_no_diversity():
    metric = BeyondAccuracy(3, COUNTS, 7)
    metric.update(LISTS, HISTORY)
    assert list(metric.compute()) == ["coverage@3", "gini@3", "popularity_lift@3", "novelty@3"]


def test_a_metric_of_no_users_is_zero():
    metric = BeyondAccuracy(3, COUNTS, 7, VECTORS)
    metric.update(LISTS[:0], HISTORY[:0])
    assert [float(value) for value in metric.compute().values()] == [0] * 5


@given(st.permutations(range(5)), st.integers(0, 5), st.integers(0, 40))
def test_no_order_no_split_and_no_padding_of_the_users_changes_a_bit(order, cut, padding):
    whole, parts = BeyondAccuracy(3, COUNTS, 7, VECTORS), BeyondAccuracy(3, COUNTS, 7, VECTORS)
    whole.update(LISTS, HISTORY)
    parts.update(LISTS[order[:cut]], F.pad(HISTORY[order[:cut]], (padding, 0), value=-1))
    parts.update(F.pad(LISTS[order[cut:]], (0, padding), value=-1), HISTORY[order[cut:]])
    assert parts.compute() == whole.compute()


def test_long_histories_mean_the_same_to_the_bit_however_far_they_are_padded():
    counts, lists = torch.arange(400), tensor([[0, 1]]).expand(20, -1)
    history = torch.randint(400, (20, 173), generator=torch.Generator().manual_seed(0))
    lift = popularity_lift(lists, history, counts)
    for padding in range(1, 60):
        assert popularity_lift(lists, F.pad(history, (padding, 0), value=-1), counts).equal(lift)


def test_the_states_of_two_processes_merge_into_what_one_has():
    alone, here, there = (BeyondAccuracy(3, COUNTS, 7, VECTORS) for _ in range(3))
    alone.update(LISTS, HISTORY)
    here.update(LISTS[:1], HISTORY[:1])
    there.update(LISTS[1:], HISTORY[1:])
    here.merge_state(there)  # by the reductions that a sync of processes uses
    assert here.compute() == alone.compute()


def test_forward_gives_the_batch_and_compute_the_whole_and_reset_forgets():
    metric = BeyondAccuracy(1, COUNTS, 7)
    assert float(metric(tensor([[0]]), tensor([[0]]))["coverage@1"]) == 0.25
    assert float(metric(tensor([[1]]), tensor([[0]]))["novelty@1"]) == 1
    assert (float(metric.compute()["coverage@1"]), float(metric.compute()["novelty@1"])) == (0.5, 0.5)
    metric.reset()
    metric.update(tensor([[3]]), tensor([[0]]))
    assert (float(metric.compute()["coverage@1"]), float(metric.compute()["novelty@1"])) == (0.25, 3)


def test_counts_and_vectors_move_with_the_metric_but_enter_no_checkpoint():
    metric = BeyondAccuracy(3, COUNTS, 7, VECTORS)
    assert metric.state_dict() == {}
    metric.to("meta")
    for held in (metric.counts, metric.vectors, *metric.metric_state.values()):
        assert held.device.type == "meta"


def test_a_metric_can_be_copied_and_pickled():
    metric = BeyondAccuracy(1, COUNTS, 7, VECTORS)
    metric.update(tensor([[0]]), tensor([[0]]))
    for other in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        other.update(tensor([[1]]), tensor([[0]]))
        assert float(other.compute()["coverage@1"]) == 0.5


def test_a_collection_does_not_merge_metrics_of_two_ks_that_agree_on_the_first_batch():
    collection = MetricCollection({"one": BeyondAccuracy(1, COUNTS, 7), "two": BeyondAccuracy(2, COUNTS, 7)})
    collection.update(tensor([[0, -1]]), tensor([[0]]))
    collection.update(tensor([[1, 2]]), tensor([[0]]))
    values = collection.compute()
    assert (float(values["coverage@1"]), float(values["coverage@2"])) == (0.5, 0.75)


def test_what_cannot_be_measured_is_named_with_the_cure():
    with pytest.raises(ValueError, match=r"k is 0.*give k of 1 or more"):
        BeyondAccuracy(0, COUNTS, 7)
    with pytest.raises(ValueError, match=r"3 vectors and 4 counts: give one of each an item"):
        BeyondAccuracy(3, COUNTS, 7, VECTORS[:3])
    with pytest.raises(ValueError, match=r"not finite: the weights have diverged"):
        BeyondAccuracy(3, COUNTS, 7, VECTORS.log())
    with pytest.raises(ValueError, match=r"lists are of 5 users, history of 4"):
        BeyondAccuracy(3, COUNTS, 7).update(LISTS, HISTORY[:4])
