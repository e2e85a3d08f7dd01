import copy
import pickle
import warnings
from statistics import mean

import numpy as np
import pytest
import torch
from forked import SERVER
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import tensor

from recall_lightning.metrics import (
    EXCLUDED,
    ByGroup,
    RankingMetrics,
    RecallAtK,
    history_groups,
    item_popularity_groups,
    target_group_recall,
    target_ranks,
)

SCORES = tensor([[0.9, 0.1, 0.5], [0.2, 0.8, 0.4], [0.3, 0.1, 0.7], [0.6, 0.5, 0.1]])
TARGETS = tensor([[0], [0], [2], [0]])  # found first by all but the second user
GROUPS = tensor([1, 0, -1, 0])


def test_users_are_grouped_by_the_length_of_their_history():
    labels, names = history_groups(tensor([1, 4, 5, 9, 10, 19, 20, 49, 50, 900]))
    assert names == ["1-4", "5-9", "10-19", "20-49", "50+"]
    assert labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_a_group_without_users_has_no_name_and_a_user_below_the_first_edge_no_group():
    labels, names = history_groups(tensor([60, 0, 4]))
    assert (labels.tolist(), names) == ([1, -1, 0], ["1-4", "50+"])
    assert history_groups(tensor([60, 0, 7]))[1] == ["5-9", "50+"]
    assert history_groups(tensor([0, 0]))[0].tolist() == [-1, -1]
    assert history_groups(torch.zeros(0, dtype=torch.int64))[1] == []


def test_a_group_of_one_length_is_named_by_it():
    labels, names = history_groups(tensor([0, 1, 2, 3]), edges=(0, 1, 2))
    assert (labels.tolist(), names) == ([0, 1, 2, 2], ["0", "1", "2+"])


@pytest.mark.parametrize("edges", [[], [5, 5], [5, 1]])
def test_edges_that_do_not_ascend_are_named_with_the_cure(edges):
    with pytest.raises(ValueError, match=r"edges are \[.*give them ascending"):
        history_groups(tensor([1]), edges)


def test_head_and_middle_each_hold_about_a_third_of_the_interactions():
    labels, names = item_popularity_groups(tensor([1, 3, 2, 0, 3, 1, 2]))  # 12 in all: 3 3 | 2 | 2 1 1 0
    assert names == ["head", "middle", "tail"]
    assert labels.tolist() == [2, 0, 1, 2, 0, 2, 2]  # of the two items of 2 the lower row is the middle


def test_an_item_that_holds_two_thirds_leaves_the_middle_empty_and_one_third_exactly_is_a_full_head():
    assert item_popularity_groups(tensor([1, 8, 3]))[0].tolist() == [2, 0, 2]
    assert item_popularity_groups(tensor([1, 1, 1]))[0].tolist() == [0, 1, 2]


def test_of_many_equally_popular_items_the_lower_rows_come_first():
    labels, _ = item_popularity_groups(torch.ones(3000, dtype=torch.int64))  # so many that torch's sort isn't stable
    assert labels.tolist() == [0] * 1000 + [1] * 1000 + [2] * 1000


def test_where_nothing_was_trained_on_all_items_are_tail():
    assert item_popularity_groups(tensor([0, 0]))[0].tolist() == [2, 2]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12))
def test_popularity_groups_agree_with_walking_down_the_items(counts):
    expected, held = [2] * len(counts), 0
    for item in sorted(range(len(counts)), key=lambda item: (-counts[item], item)):
        if held * 3 < sum(counts):
            expected[item] = 0
        elif held * 3 < 2 * sum(counts):
            expected[item] = 1
        held += counts[item]
    assert item_popularity_groups(tensor(counts))[0].tolist() == expected


def test_recall_of_a_group_of_items_is_over_the_users_targets_of_that_group():
    labels = tensor([0, 0, 2, 2, -1])
    ranks, targets = tensor([[0, 7, 1, 2], [5, EXCLUDED, -1, -1]]), tensor([[0, 1, 3, 4], [2, 3, -1, -1]])
    recall = target_group_recall(ranks, targets, labels, 3, 3)
    assert recall[0].tolist() == pytest.approx([0.5, float("nan"), 1], nan_ok=True)
    assert recall[1].tolist() == pytest.approx([float("nan"), float("nan"), 0], nan_ok=True)


@given(arrays(np.float32, (3, 7), elements=st.sampled_from([-np.inf, -1.0, 0.0, 0.5])),
       arrays(np.int64, (3, 5), elements=st.integers(-1, 6)), arrays(np.int64, 7, elements=st.integers(-1, 2)),
       st.integers(1, 8))  # fmt: skip
def test_recall_of_groups_agrees_with_a_loop_over_users_targets_and_groups(scores, targets, labels, k):
    ranks = target_ranks(torch.from_numpy(scores), torch.from_numpy(targets))
    recall = target_group_recall(ranks, torch.from_numpy(targets), torch.from_numpy(labels), k, 3)
    for user in range(3):
        for group in range(3):
            mine = [
                rank < k
                for rank, item in zip(ranks[user].tolist(), targets[user], strict=True)
                if rank >= 0 and labels[item] == group
            ]
            assert float(recall[user, group]) == pytest.approx(mean(mine) if mine else float("nan"), nan_ok=True)


def test_one_target_a_user_may_come_as_a_column_of_its_own():
    targets = TARGETS[:, 0]
    recall = target_group_recall(target_ranks(SCORES, targets), targets, tensor([0, 0, 1]), 1, 2)
    assert recall.nan_to_num(-1).tolist() == [[1, -1], [0, -1], [-1, 1], [1, -1]]


def test_each_user_counts_in_their_own_group_and_those_of_none_nowhere():
    metric = ByGroup(lambda: RankingMetrics([1]), ["1-4", "5+"])
    metric.update(SCORES, TARGETS, groups=GROUPS)
    values = {name: float(value) for name, value in metric.compute().items()}
    assert (values["n_users/1-4"], values["n_users/5+"]) == (2, 1)
    assert (values["recall@1/1-4"], values["recall@1/5+"]) == (0.5, 1)
    assert len(values) == 2 * (1 + 5)


def test_groups_are_what_a_metric_of_their_users_alone_gives():
    metric = ByGroup(lambda: RankingMetrics([1, 2]), ["a", "b", "none are here"])
    for users in (slice(0, 1), slice(1, 4)):
        metric.update_ranks(target_ranks(SCORES[users], TARGETS[users]), GROUPS[users])
    for group, name in enumerate(["a", "b", "none are here"]):
        alone = RankingMetrics([1, 2])
        alone.update(SCORES[group == GROUPS], TARGETS[group == GROUPS])
        for measure, value in alone.compute().items():
            assert metric.compute()[f"{measure}/{name}"] == value


def test_a_metric_of_one_value_goes_by_its_class():
    metric = ByGroup(lambda: RecallAtK(1), ["a", "b"])
    metric.update(SCORES, TARGETS, groups=GROUPS)
    assert {name: float(value) for name, value in metric.compute().items()} == {
        "n_users/a": 2, "RecallAtK/a": 0.5, "n_users/b": 1, "RecallAtK/b": 1
    }  # fmt: skip


def test_a_group_that_no_user_was_in_so_far_is_no_cause_for_a_warning():
    metric = ByGroup(lambda: RecallAtK(1), ["a", "b"])
    metric.update(SCORES[:1], TARGETS[:1], groups=tensor([0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert int(metric.compute()["n_users/b"]) == 0


def test_forward_gives_the_batch_and_compute_the_whole_and_reset_forgets():
    metric = ByGroup(lambda: RecallAtK(1), ["a"])
    assert metric(SCORES[:1], TARGETS[:1], groups=tensor([0])) == {"n_users/a": 1, "RecallAtK/a": 1}
    assert metric(SCORES[1:2], TARGETS[1:2], groups=tensor([0])) == {"n_users/a": 1, "RecallAtK/a": 0}
    assert metric.compute() == {"n_users/a": 2, "RecallAtK/a": 0.5}
    metric.reset()
    metric.update(SCORES[:1], TARGETS[:1], groups=tensor([0]))
    assert metric.compute() == {"n_users/a": 1, "RecallAtK/a": 1}


def test_it_can_be_copied_pickled_and_moved():
    metric = ByGroup(lambda: RecallAtK(1), ["a"])
    metric.update(SCORES[:1], TARGETS[:1], groups=tensor([0]))
    for other in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        other.update(SCORES[1:2], TARGETS[1:2], groups=tensor([0]))
        assert other.compute() == {"n_users/a": 2, "RecallAtK/a": 0.5}
    moved = metric.to("meta")
    assert moved.sizes.n_users.device.type == moved.metrics[0].n_users.device.type == "meta"


def test_what_cannot_be_routed_is_named_with_the_cure():
    metric = ByGroup(lambda: RecallAtK(1), ["a", "b"])
    with pytest.raises(ValueError, match=r"values are of 4 users, groups of 3"):
        metric.update(SCORES, TARGETS, groups=GROUPS[:3])
    with pytest.raises(ValueError, match=r"values are of 4 users, groups of 3"):
        metric.update_ranks(target_ranks(SCORES, TARGETS), GROUPS[:3])
    with pytest.raises(ValueError, match=r"a user is of group 2, but 2 are named"):
        metric.update(SCORES, TARGETS, groups=tensor([0, 1, 2, 0]))
    with pytest.raises(ValueError, match=r"names are \['a', 'a'\].*give each once"):
        ByGroup(lambda: RecallAtK(1), ["a", "a"])


def test_two_processes_with_unequal_shares_give_exactly_what_one_gives(tmp_path):
    torch.multiprocessing.start_processes(
        compute_a_share, args=(str(tmp_path),), nprocs=2, start_method=SERVER.get_start_method()
    )
    alone = ByGroup(lambda: RankingMetrics([1, 2]), ["a", "b"])
    alone.update(SCORES, TARGETS, groups=GROUPS)
    for rank in (0, 1):
        assert torch.load(tmp_path / f"{rank}.pt") == alone.compute()


def compute_a_share(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    metric = ByGroup(lambda: RankingMetrics([1, 2]), ["a", "b"])
    share = (slice(0, 1), slice(1, 4))[rank]  # the first process has nobody of group a
    metric.update(SCORES[share], TARGETS[share], groups=GROUPS[share])
    torch.save(metric.compute(), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()
