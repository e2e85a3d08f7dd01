"""HeapTrim: gaps of the heap go back to the system."""

import time
from pathlib import Path

import pytest

from recall_lightning.callbacks import default_callbacks
from recall_lightning.callbacks.heap import HeapTrim

MIB = 2**20


def resident():
    """MiB of memory that the process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / MIB


@pytest.fixture
def gaps():
    """200 MiB of freed blocks, between others that stay."""
    blocks = [(bytearray(60_000), bytearray(1_000)) for _ in range(200 * MIB // 60_000)]
    return [small for _, small in blocks]


@pytest.mark.skipif(HeapTrim()._trim is None, reason="the C library has no malloc_trim")
def test_memory_between_what_is_in_use_goes_back(gaps):
    trims = HeapTrim(seconds=0)
    before = resident()
    trims.on_train_batch_end(None, None)
    assert resident() < before - 150


def test_it_costs_nothing_until_its_time_has_come():
    calls = []
    trims = HeapTrim(seconds=3600)
    trims._trim = calls.append
    trims.on_train_batch_end(None, None)
    trims.on_validation_end(None, None)
    assert calls == []
    trims._last = time.monotonic() - 3601
    trims.on_validation_end(None, None)
    trims.on_train_batch_end(None, None)
    assert calls == [0]


def test_where_the_library_has_none_nothing_happens():
    trims = HeapTrim(seconds=0)
    trims._trim = None
    trims.on_train_batch_end(None, None)


def test_every_method_has_it():
    for method in ("recall", "maml", "pretrain"):
        assert [type(callback) for callback in default_callbacks(method)].count(HeapTrim) == 1
