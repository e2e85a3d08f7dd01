"""The registry: a layout is a file, and no list names it a second time."""

import importlib
import inspect
import sys

import pytest

import recall_lightning
from recall_lightning.data.readers.base import Reader
from recall_lightning.data.readers.registry import readers, readers_of

PUBLIC = ["AmazonReviews", "BookCrossing", "JsonHistories", "MovieLens", "RecBole", "Tabular"]


def test_every_layout_is_found_by_its_name():
    assert list(readers()) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_reader_is_public_documented_and_a_reader(name):
    reader = readers()[name]
    assert getattr(recall_lightning, name) is reader
    assert issubclass(reader, Reader)
    assert "Args:" in inspect.cleandoc(vars(reader)["__doc__"])


NEW_LAYOUT = '''
from recall_lightning.data.readers.base import Reader
from recall_lightning.data.readers.tabular import Tabular  # imported, not defined here

class Sketch(Reader):  # still without what a reader reads
    pass

class Diary(Reader):
    """Diaries."""
    def read_interactions(self): ...
    def read_items(self, template): ...
'''


def test_a_file_dropped_into_the_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "more_readers").mkdir()
    (tmp_path / "more_readers" / "__init__.py").write_text("")
    (tmp_path / "more_readers" / "diary.py").write_text(NEW_LAYOUT)
    monkeypatch.syspath_prepend(tmp_path)
    found = readers_of(importlib.import_module("more_readers"))
    assert list(found) == ["Diary"]
    assert found["Diary"] is sys.modules["more_readers.diary"].Diary
