import copy
import math
import pickle
from statistics import mean

import numpy as np
import pytest
import torch
from forked import SERVER
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import tensor
from torchmetrics import MetricCollection
from torchmetrics.retrieval import RetrievalRecall

from recall_lightning.metrics import (
    HitRateAtK,
    MRRAtK,
    NDCGAtK,
    PrecisionAtK,
    RankingMetrics,
    RecallAtK,
    hit_rate_at_k,
    mrr_at_k,
    ndcg_at_k,
    precision_at_k,
    recall_at_k,
    target_ranks,
)

INF = float("inf")
METRICS = [RecallAtK, PrecisionAtK, NDCGAtK, MRRAtK, HitRateAtK]
NAMES = ["recall", "precision", "ndcg", "mrr", "hit_rate"]
COSINES = st.sampled_from([-1.0, -0.25, 0.0, 0.25])  # ties, zeros, negative cosines


@given(arrays(np.float32, (5, 12), elements=COSINES), arrays(np.int64, 5, elements=st.integers(0, 11)),
       st.integers(1, 12))  # fmt: skip
def test_recall_at_k_of_one_target_agrees_with_counting_by_hand(scores, targets, k):
    metric = RecallAtK(k)
    metric.update(torch.from_numpy(scores), torch.from_numpy(targets))
    assert float(metric.compute()) == pytest.approx(
        mean(slow_hit(s, t, k) for s, t in zip(scores, targets, strict=True))
    )


def slow_hit(scores, target, k):  # a tie counts against the target
    return float(sum(s >= scores[target] for i, s in enumerate(scores) if i != target) < k)


@given(arrays(np.float32, (4, 8), elements=st.sampled_from([-INF, -1.0, -0.25, 0.0, 0.25])),
       arrays(np.int64, (4, 5), elements=st.integers(-1, 7)), st.integers(1, 10))  # fmt: skip
def test_every_metric_agrees_with_walking_down_the_list(scores, targets, k):
    lists = [slow_list(s, t) for s, t in zip(scores.tolist(), targets.tolist(), strict=True)]
    judged = [(hits[:k], n_relevant) for hits, n_relevant in lists if n_relevant]
    expected = {
        "recall": [sum(hits) / n_relevant for hits, n_relevant in judged],
        "precision": [sum(hits) / k for hits, _ in judged],
        "ndcg": [dcg(hits) / dcg([1] * min(k, n_relevant)) for hits, n_relevant in judged],
        "mrr": [1 / (hits.index(1) + 1) if 1 in hits else 0 for hits, _ in judged],
        "hit_rate": [float(1 in hits) for hits, _ in judged],
    }
    together = RankingMetrics([k, 3])
    together.update(torch.from_numpy(scores), torch.from_numpy(targets))
    for metric_class, name in zip(METRICS, NAMES, strict=True):
        alone = metric_class(k)
        alone.update(torch.from_numpy(scores), torch.from_numpy(targets))
        assert float(alone.compute()) == pytest.approx(mean(expected[name]) if judged else 0)
        assert alone.compute().equal(together.compute()[f"{name}@{k}"])
        assert (alone.n_users, alone.n_skipped) == (len(judged), 4 - len(judged))


def slow_list(scores, targets):
    """The candidates best first, irrelevant ones first among equals, as 1 for a hit and 0; and the number relevant."""
    relevant = set(targets) - {-1}
    candidates = [item for item, score in enumerate(scores) if score > -INF]
    ranking = sorted(candidates, key=lambda item: (-scores[item], item in relevant))
    return [int(item in relevant) for item in ranking], len(relevant)


def dcg(hits):
    return sum(hit / math.log2(place + 2) for place, hit in enumerate(hits))


def test_the_functions_of_two_of_three_relevant_items_found_at_places_two_and_four():
    ranks = tensor([[3, 1, 9]])
    assert float(recall_at_k(ranks, 4)) == pytest.approx(2 / 3)
    assert float(precision_at_k(ranks, 4)) == 0.5
    assert float(ndcg_at_k(ranks, 4)) == pytest.approx((1 / math.log2(3) + 1 / math.log2(5)) / (1.5 + 1 / math.log2(3)))
    assert float(mrr_at_k(ranks, 4)) == 0.5
    assert float(hit_rate_at_k(ranks, 4)) == 1


@pytest.mark.parametrize("function", [recall_at_k, precision_at_k, ndcg_at_k, mrr_at_k, hit_rate_at_k])
def test_a_user_with_nothing_relevant_has_no_value_of_their_own(function):
    assert function(tensor([[0, -1], [-1, -1]]), 1).isnan().tolist() == [False, True]


def test_relevant_items_with_scores_of_zero_and_below_are_counted_unlike_by_torchmetrics():
    scores, relevant = tensor([[-0.1, 0.0, -0.9]]), tensor([[0, 1]])
    metric = RecallAtK(2)
    metric.update(scores, relevant)
    assert float(metric.compute()) == 1
    theirs = RetrievalRecall(top_k=2)
    assert float(theirs(scores[0], tensor([1, 1, 0]), indexes=tensor([0, 0, 0]))) == 0  # else: tell docs and traps


@pytest.mark.parametrize("metric_class", METRICS)
def test_a_relevant_item_that_was_excluded_is_no_hit_though_k_exceeds_the_catalogue(metric_class):
    metric = metric_class(10)
    metric.update(tensor([[0.5, -INF]]), tensor([1]))
    assert (float(metric.compute()), int(metric.n_users)) == (0, 1)


@pytest.mark.parametrize("metric_class", METRICS)
def test_users_with_nothing_relevant_are_left_out_and_counted(metric_class):
    metric = metric_class(1)
    metric.update(tensor([[0.9, 0.1], [0.9, 0.1]]), tensor([[0], [-1]]))
    assert (float(metric.compute()), int(metric.n_users), int(metric.n_skipped)) == (1, 1, 1)


@pytest.mark.parametrize("metric_class", METRICS)
def test_a_metric_of_no_users_is_zero(metric_class):
    metric = metric_class(1)
    metric.update(torch.zeros(0, 4), torch.zeros(0, 1, dtype=torch.int64))
    assert float(metric.compute()) == 0


@pytest.mark.parametrize("metric_class", METRICS)
@pytest.mark.parametrize("k", [0, -3])
def test_a_k_below_one_is_named_with_the_cure(metric_class, k):
    with pytest.raises(ValueError, match=rf"k is {k}.*give k of 1 or more"):
        metric_class(k)
    with pytest.raises(ValueError, match=rf"k is {k}.*give k of 1 or more"):
        RankingMetrics([5, k])


def test_no_k_at_all_is_named_with_the_cure():
    with pytest.raises(ValueError, match=r"ks is empty.*\[10\]"):
        RankingMetrics([])


def test_all_measures_come_at_all_ks():
    metric = RankingMetrics([1, 10])
    metric.update(torch.rand(3, 20), tensor([0, 1, 2]))
    assert set(metric.compute()) == {f"{name}@{k}" for name in NAMES for k in (1, 10)}
    assert metric.higher_is_better


def test_ranks_given_directly_count_as_their_scores_would_also_after_a_compute():
    scores, targets = torch.rand(6, 9), tensor([[0, 4], [1, -1], [2, 8], [-1, -1], [3, 5], [7, 0]])
    by_scores, by_ranks = RankingMetrics([2]), RankingMetrics([2])
    for users in (slice(0, 1), slice(1, 6)):
        by_scores.update(scores[users], targets[users])
        by_ranks.update_ranks(target_ranks(scores[users], targets[users]))
        assert by_ranks.compute() == by_scores.compute()
    assert by_ranks.update_count == by_scores.update_count == 2


def test_forward_gives_the_batch_and_compute_the_whole_and_reset_forgets():
    metric = RecallAtK(1)
    assert float(metric(tensor([[0.9, 0.1]]), tensor([0]))) == 1
    assert float(metric(tensor([[0.9, 0.1]]), tensor([1]))) == 0
    assert float(metric.compute()) == 0.5
    metric.reset()
    assert (int(metric.n_users), int(metric.n_skipped)) == (0, 0)


def test_a_metric_can_be_copied_and_pickled():
    metric = RankingMetrics([1])
    metric.update(tensor([[0.9, 0.1]]), tensor([0]))
    for other in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        other.update_ranks(tensor([[1]]))
        assert float(other.compute()["recall@1"]) == 0.5


def test_a_collection_does_not_merge_metrics_that_agree_on_the_first_batch():
    collection = MetricCollection([RecallAtK(1)]).clone()
    collection.add_metrics({"RecallAt2": RecallAtK(2), "MRR": MRRAtK(2)})
    collection.update(tensor([[0.9, 0.1, 0.0]]), tensor([0]))  # all three are 1
    collection.update(tensor([[0.9, 0.1, 0.0]]), tensor([1]))
    assert {name: float(value) for name, value in collection.compute().items()} == {
        "RecallAtK": 0.5, "RecallAt2": 1.0, "MRR": 0.75
    }  # fmt: skip


@given(st.permutations(range(6)), st.integers(0, 6))
def test_no_order_and_no_split_of_the_users_changes_a_bit(order, cut):
    whole, parts = RankingMetrics([2, 5]), RankingMetrics([2, 5])
    whole.update_ranks(RANKS)
    parts.update_ranks(RANKS[order[:cut]])
    parts.update_ranks(RANKS[order[cut:]])
    assert parts.compute() == whole.compute()


RANKS = tensor([[0, 2, 8], [1, -1, -1], [-1, -1, -1], [4, 3, 2], [6, 0, -1], [5, -1, 3]])


def test_two_processes_with_unequal_shares_give_exactly_what_one_gives(tmp_path):
    torch.multiprocessing.start_processes(
        compute_a_share, args=(str(tmp_path),), nprocs=2, start_method=SERVER.get_start_method()
    )
    alone = RankingMetrics([2, 5])
    alone.update_ranks(RANKS)
    for rank in (0, 1):
        together, n_users, n_skipped = torch.load(tmp_path / f"{rank}.pt")
        assert together == alone.compute()
        assert (n_users, n_skipped) == (1, 0) if rank == 0 else (4, 1)  # each process' own, after the sync


def compute_a_share(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    metric = RankingMetrics([2, 5])
    metric.update_ranks((RANKS[:1], RANKS[1:])[rank])
    torch.save((metric.compute(), int(metric.n_users), int(metric.n_skipped)), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()
