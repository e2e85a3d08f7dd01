"""HeapTrim: gaps of the heap go back to the system."""

import os
import pickle
import time
from pathlib import Path

import pytest

from recall_lightning.callbacks import default_callbacks, heap
from recall_lightning.callbacks.heap import HeapTrim, malloc_trim

MIB = 2**20
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
OTHER = any(name in os.environ.get("LD_PRELOAD", "") for name in ("jemalloc", "tcmalloc", "mimalloc"))


def resident():
    """MiB of memory that the process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / MIB


@pytest.fixture
def gaps():
    """200 MiB of freed blocks, between others that stay."""
    blocks = [(bytearray(60_000), bytearray(1_000)) for _ in range(200 * MIB // 60_000)]
    return [small for _, small in blocks]


@pytest.fixture
def calls(monkeypatch):
    """What a stand-in of the C library's function was called with."""
    made = []
    monkeypatch.setattr(heap, "malloc_trim", lambda: made.append)
    return made


@pytest.mark.skipif(malloc_trim() is None or OTHER, reason="no malloc_trim, or another allocator")
@pytest.mark.skipif(PAGE > 16384, reason="such gaps hold no whole page")
def test_memory_between_what_is_in_use_goes_back(gaps):
    before = resident()
    HeapTrim(seconds=0).on_train_batch_end(None, None)
    assert resident() < before - 100


def test_it_costs_nothing_until_its_time_has_come(calls):
    trims = HeapTrim(seconds=3600)
    trims.on_train_batch_end(None, None)
    trims.on_validation_end(None, None)
    assert calls == []
    trims._last = time.monotonic() - 3601
    trims.on_validation_end(None, None)
    trims.on_train_batch_end(None, None)
    assert calls == [0]


def test_where_the_library_has_none_nothing_happens(monkeypatch):
    monkeypatch.setattr(heap, "malloc_trim", lambda: None)
    HeapTrim(seconds=0).on_train_batch_end(None, None)


@pytest.mark.parametrize("method", ["recall", "maml", "pretrain"])
def test_every_method_has_it_and_spawned_processes_get_it(method):
    callbacks = default_callbacks(method)
    assert [type(callback) for callback in callbacks].count(HeapTrim) == 1
    callbacks[-3].on_train_batch_end(None, None)
    assert isinstance(callbacks[-3], HeapTrim)
    assert [type(each) for each in pickle.loads(pickle.dumps(callbacks))] == [type(each) for each in callbacks]
