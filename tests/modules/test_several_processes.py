"""Several processes learn what one would learn of their batches joined, and measure what it would."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import several_processes
import torch
from forked import Forked
from hypothesis import given
from hypothesis import strategies as st

from recall_lightning import RecallModule
from recall_lightning.modules.joined import BatchItems, first_of_each, joined


def run(case, processes, movielens, tiny_encoder, folder):
    begun = Forked(several_processes.run, case, processes, movielens, tiny_encoder, folder)
    assert begun.wait(timeout=240) == 0, begun.stderr(timeout=60)[-4000:]
    return torch.load(folder / f"{case}-{processes}.kept"), torch.load(folder / f"{case}-{processes}.metrics")


@pytest.mark.parametrize("case", ["batch", "catalogue", "maml"])
def test_two_processes_have_the_gradient_and_the_metrics_of_one_with_the_joined_batch(
    movielens, tiny_encoder, tmp_path, case
):
    (alone, measured), (shared, others) = (run(case, n, movielens, tiny_encoder, tmp_path) for n in (1, 2))
    assert alone.keys() == shared.keys()
    for name, gradient in alone.items():
        torch.testing.assert_close(shared[name], gradient, atol=1e-5, rtol=1e-4, msg=name)
    assert any(gradient.abs().max() > 1e-3 for name, gradient in alone.items() if "encoder" in name)
    assert measured.keys() == others.keys()
    assert {name: pytest.approx(value, abs=1e-5) for name, value in measured.items()} == others


@pytest.mark.parametrize("case", ["uneven-7", "uneven-10"])
def test_users_that_three_processes_cant_share_evenly_count_once_each_as_in_one(
    movielens, tiny_encoder, tmp_path, case
):
    (alone, measured), (shared, others) = (run(case, n, movielens, tiny_encoder, tmp_path) for n in (1, 3))
    assert alone.keys() == shared.keys()
    for name, weight in alone.items():
        torch.testing.assert_close(shared[name], weight, atol=1e-5, rtol=1e-4, msg=name)
    assert {name: pytest.approx(value, abs=1e-5) for name, value in measured.items()} == others


def test_two_processes_with_a_share_of_the_encoders_layers_each_learn_what_one_does(movielens, tiny_encoder, tmp_path):
    case = "uneven-7-sharded"
    (alone, measured), (shared, others) = (run(case, n, movielens, tiny_encoder, tmp_path) for n in (1, 2))
    losses = shared.pop("losses")
    torch.testing.assert_close(losses, alone["losses"], atol=1e-5, rtol=1e-5)
    assert losses[-1] != losses[1]  # of the same users, an epoch later
    assert {name: pytest.approx(value, abs=1e-5) for name, value in measured.items()} == others
    kept = RecallModule.load_from_checkpoint(tmp_path / f"{case}-2.ckpt").state_dict()
    assert not [name for name in shared if not kept[name].equal(shared[name])]


def test_two_processes_learn_of_shards_what_one_does_of_a_table(movielens, tiny_encoder, tmp_path):
    case = "uneven-7-shards"
    (alone, measured), (shared, others) = (run(case, n, movielens, tiny_encoder, tmp_path) for n in (1, 2))
    assert (tmp_path / "shards" / "24.parquet").exists()
    for name, weight in alone.items():
        torch.testing.assert_close(shared[name], weight, atol=1e-5, rtol=1e-4, msg=name)
    assert {name: pytest.approx(value, abs=1e-5) for name, value in measured.items()} == others


@given(st.lists(st.integers(-1, 5), max_size=12))
def test_each_row_is_kept_where_it_stands_first(rows):
    kept = first_of_each(torch.tensor(rows, dtype=torch.int64)).tolist()
    assert kept == [place for place, row in enumerate(rows) if row >= 0 and row not in rows[:place]]


def of_all(parts):
    """`joined` on as many threads as there are parts, each of which waits for the others where it gathers."""
    given, barrier = [None] * len(parts), Barrier(len(parts))

    def on(process):
        def gather(tensor):
            given[process] = tensor
            barrier.wait(timeout=10)
            found = torch.stack(given)
            barrier.wait(timeout=10)
            return found

        return joined(parts[process], gather)

    with ThreadPoolExecutor(len(parts)) as threads:
        return list(threads.map(on, range(len(parts))))


def items_of(encoded, rest):
    """Text vectors and log q tell rows and, by what follows the point, the process."""
    vectors = torch.tensor(encoded)[:, None]
    return BatchItems(vectors[:, 0].long(), vectors, torch.tensor(rest).long(), torch.tensor([*encoded, *rest]))


def test_items_of_a_process_whose_users_dont_count_are_left_out_and_keep_its_encoder_in_step():
    vectors = torch.tensor([[9.0], [3.0]], requires_grad=True)
    out = BatchItems(torch.tensor([9, 3]), vectors, torch.tensor([6]), torch.zeros(3)).as_none()
    for found in of_all([items_of([3.0], [1.0]), out]):
        assert found.encoded.tolist() == [3]
        assert found.rest.tolist() == [1]
        found.fresh.sum().backward()
        assert vectors.grad.tolist() == [[0.0], [0.0]]


def test_what_several_processes_encoded_counts_once_by_the_first_and_comes_before_what_none_did():
    for found in of_all([items_of([3.0, 5.0], [1.0, 7.0]), items_of([5.5, 1.5, 2.5], [3.5])]):
        assert found.encoded.tolist() == [3, 5, 1, 2]
        assert found.fresh.flatten().tolist() == [3.0, 5.0, 1.5, 2.5]
        assert found.rest.tolist() == [7]
        assert found.log_q.tolist() == [3.0, 5.0, 1.5, 2.5, 7.0]
