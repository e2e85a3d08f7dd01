"""The order of training: every sequence once an epoch, shared among processes, resumable at any batch."""

import logging
import warnings

import lightning as L
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from recall_lightning.data import sampler as module
from recall_lightning.data.sampler import EpochSampler, Keys, ResumableLoader, counted


def indices(sampler, epoch=0):
    sampler.set_epoch(epoch)
    return [index for _, index in sampler]


@given(st.integers(0, 40), st.integers(0, 5))
def test_every_index_comes_once_an_epoch(n, epoch):
    assert sorted(indices(EpochSampler(n, seed=0), epoch)) == list(range(n))


def test_an_order_that_is_listed_piece_by_piece_is_the_same(monkeypatch):
    whole = indices(EpochSampler(50, seed=0))
    monkeypatch.setattr(module, "_LISTED", 7)
    assert indices(EpochSampler(50, seed=0)) == whole


def test_an_epochs_order_follows_from_seed_and_epoch():
    order = indices(EpochSampler(50, seed=0))
    assert indices(EpochSampler(50, seed=0)) == order != list(range(50))
    assert indices(EpochSampler(50, seed=0), epoch=1) != order
    assert indices(EpochSampler(50, seed=1)) != order


def test_the_epoch_goes_along_with_each_index():
    order = EpochSampler(3, seed=0)
    order.set_epoch(7)
    assert {epoch for epoch, _ in order} == {7}


@given(st.integers(1, 40), st.integers(1, 9))
def test_ranks_together_count_each_index_once_and_are_equal_in_number_by_stand_ins(n, world_size):
    shares = [indices(EpochSampler(n, seed=0, rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert (
        {len(share) for share in shares}
        == {len(EpochSampler(n, seed=0, world_size=world_size))}
        == {-(-n // world_size)}
    )
    together = [index for share in shares for index in share]
    assert sorted(index for index in together if index >= 0) == list(range(n))
    stand_ins = [~index for index in together if index < 0]
    assert len(stand_ins) == -n % world_size
    assert set(stand_ins) <= set(range(n))


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 9))
def test_of_any_number_of_processes_the_batches_of_a_step_count_what_one_processs_batch_would(
    n, batch_size, world_size
):
    def batches(rank, world_size, batch_size):
        sampler = EpochSampler(n, seed=0, rank=rank, world_size=world_size)
        return list(DataLoader(Keys(), batch_size=batch_size, sampler=sampler, collate_fn=counted))

    shares = [batches(rank, world_size, batch_size) for rank in range(world_size)]
    joined = batches(0, 1, batch_size * world_size)
    assert {len(share) for share in shares} == {len(joined)}
    for step, (whole, _) in enumerate(joined):
        parts = [share[step] for share in shares]
        assert sorted(index for part, real in parts for index in part[real].tolist()) == sorted(whole.tolist())
        assert all(len(part) > 0 for part, _ in parts)


def test_stand_ins_stay_in_a_batch_only_where_nothing_counts():
    indices, real = counted([(0, 4), (0, ~2)])
    assert (indices.tolist(), real.tolist()) == ([4], [True])
    indices, real = counted([(0, ~2), (0, ~1)])
    assert (indices.tolist(), real.tolist()) == ([2, 1], [False, False])


def test_ranks_together_walk_the_order_of_one_process():
    shares = [indices(EpochSampler(6, seed=0, rank=rank, world_size=2)) for rank in range(2)]
    assert [index for pair in zip(*shares, strict=True) for index in pair] == indices(EpochSampler(6, seed=0))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=200), st.integers(1, 9), st.integers(1, 3))
def test_sorted_by_length_every_index_still_comes_once_and_ranks_share_batches_of_about_one_length(
    lengths, batch_size, world_size
):
    n, settings = len(lengths), {"lengths": torch.tensor(lengths), "batch_size": batch_size, "seed": 0}
    alone = EpochSampler(n, **settings)
    assert sorted(indices(alone)) == list(range(n))
    assert sorted(indices(alone, epoch=1)) == list(range(n))
    shares = [indices(EpochSampler(n, rank=r, world_size=world_size, **settings)) for r in range(world_size)]
    assert {len(share) for share in shares} == {-(-n // world_size)}
    assert sorted(index for share in shares for index in share if index >= 0) == list(range(n))


def test_batches_sorted_by_length_hold_neighbours_in_length_in_an_order_that_tells_nothing_of_it():
    lengths = torch.arange(64).flip(0)  # one pool: batch b holds four neighbours
    order = indices(EpochSampler(64, seed=0, lengths=lengths, batch_size=4))
    batches = [[int(lengths[i]) for i in order[at : at + 4]] for at in range(0, 64, 4)]
    assert all(max(batch) - min(batch) == 3 for batch in batches)
    firsts = [batch[0] for batch in batches]
    assert firsts != sorted(firsts)
    assert indices(EpochSampler(64, seed=0, lengths=lengths, batch_size=4), epoch=1) != order


def test_skipping_holds_for_one_epoch():
    sampler = EpochSampler(10, seed=0)
    whole = indices(sampler)
    sampler.skip = 4
    assert indices(sampler) == whole[4:]
    assert indices(sampler) == whole


def loader(workers, n=10):
    return ResumableLoader(
        Keys(), sampler=EpochSampler(n, seed=1), batch_size=3, collate_fn=tuple, num_workers=workers
    )  # fmt: skip


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [1, 3])
def test_a_loader_goes_on_at_the_batch_where_it_stopped(workers, stop):
    whole = list(loader(workers))
    assert len(whole) == 4
    stopped = loader(workers)
    batches = iter(stopped)
    seen = [next(batches) for _ in range(stop)]
    state = stopped.state_dict()  # workers have fetched more by now: that must not count

    resumed = loader(workers)
    resumed.load_state_dict(state)
    assert seen + list(resumed) == whole
    assert list(resumed) == whole  # an epoch later nothing is skipped


def test_a_resumed_loader_counts_from_where_the_epoch_began():
    resumed = loader(0)
    resumed.load_state_dict({"batches": 2})
    next(iter(resumed))
    assert resumed.state_dict() == {"batches": 3}
    next(iter(resumed))  # an epoch anew
    assert resumed.state_dict() == {"batches": 1}


def test_after_a_whole_epoch_nothing_is_left_to_skip():
    done = loader(0)
    whole = list(done)
    resumed = loader(0)
    resumed.load_state_dict(done.state_dict())
    assert list(resumed) == whole


class Recorder(L.LightningModule):
    """Writes down what it is trained on, and dies after `stop` batches."""

    def __init__(self, stop=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen, self.stop = [], stop

    def training_step(self, batch, batch_idx):
        if len(self.seen) == self.stop:
            raise TimeoutError
        self.seen.append((self.current_epoch, batch_idx, batch))
        return self.weight * 1.0

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Data(L.LightningDataModule):
    def train_dataloader(self):
        made = loader(0)
        made.sampler.set_epoch(self.trainer.current_epoch)
        return made


def trained(folder, module, **options):
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    checkpoints = [ModelCheckpoint(folder, every_n_train_steps=1, save_top_k=-1, filename="{step}")]
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(
        max_epochs=3, accelerator="cpu", callbacks=checkpoints, default_root_dir=folder, **quiet
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, Data(), **options)
    return module.seen


@pytest.mark.parametrize("stop", [2, 4, 5])  # inside an epoch, at its very end, in the next one
def test_a_run_that_was_stopped_and_resumed_sees_what_an_unbroken_one_sees(tmp_path, stop):
    whole = trained(tmp_path / "whole", Recorder())
    assert len(whole) == 12
    stopped = Recorder(stop)
    with pytest.raises(TimeoutError):
        trained(tmp_path / "stopped", stopped)
    checkpoint = tmp_path / "stopped" / f"step={stop}.ckpt"
    assert stopped.seen + trained(tmp_path / "resumed", Recorder(), ckpt_path=checkpoint) == whole
