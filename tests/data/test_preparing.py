"""Prepared data: read once, the same from the cache, and anew as soon as anything differs."""

import gzip

import numpy as np
import pytest

from recall_lightning import Tabular
from recall_lightning.data.filters import Filters
from recall_lightning.data.preparing import prepare
from recall_lightning.errors import InputError


class Counting(Tabular):
    reads = 0

    def read_interactions(self):
        type(self).reads += 1
        return super().read_interactions()


@pytest.fixture
def again(typed, tmp_path, monkeypatch):
    """Prepares the typed tables; the number of reads so far stands in `Counting.reads`."""
    monkeypatch.setattr(Counting, "reads", 0)

    def prepare_again(template="{title}. {genres}", *, ties="row", seed=0, cache=True, **filters):
        reader = Counting(str(typed / "interactions.csv"), str(typed / "items.csv"))
        return prepare(reader, template, Filters(**filters), ties, seed, tmp_path / "cache" if cache else None)

    return prepare_again


def same(one, other):
    grouped, others = one.interactions, other.interactions
    return (
        one.catalogue == other.catalogue
        and (one.n_read, one.left_out, one.broken, one.n_repeated, one.n_items_read, one.n_without_text)
        == (other.n_read, other.left_out, other.broken, other.n_repeated, other.n_items_read, other.n_without_text)
        and grouped.user_ids == others.user_ids
        and all(np.array_equal(getattr(grouped, n), getattr(others, n)) for n in ("items", "offsets", "times"))
        and grouped.items.dtype == others.items.dtype
    )


def test_the_second_time_nothing_is_read_and_all_is_the_same(again):
    first, second = again(), again()
    assert Counting.reads == 1
    assert same(first, second)
    assert same(first, again(cache=False))


def test_odd_ids_and_texts_come_out_of_the_cache_as_they_went_in(again, typed):
    odd = ["007", 'a "quote"', "comma,", "new\nline", "🎬", " space "]
    quoted = ['"' + item.replace('"', '""') + '"' for item in odd]
    (typed / "items.csv").write_text("item_id,title,genres\n" + "".join(f"{i},{i},\n" for i in quoted))
    (typed / "interactions.csv").write_text("user_id,item_id\n" + "".join(f"{i},{i}\n" for i in quoted))
    again("{title}")
    kept = again("{title}")
    assert Counting.reads == 1
    assert kept.catalogue.ids == odd
    assert sorted(kept.interactions.user_ids) == sorted(odd)


@pytest.mark.parametrize(
    "change", [{"template": "{title}"}, {"ties": "shuffle"}, {"seed": 1}, {"min_interactions": 2}, {"repeats": "last"}]
)
def test_another_setting_reads_anew(again, change):
    again()
    again(**change)
    assert Counting.reads == 2


@pytest.mark.parametrize(("file", "old", "new"), [("interactions.csv", ",4", ",5"), ("items.csv", "Heat", "heat")])
def test_another_byte_in_a_file_reads_anew(again, typed, file, old, new):
    again()
    assert old in (typed / file).read_text()
    (typed / file).write_text((typed / file).read_text().replace(old, new))
    again()
    assert Counting.reads == 2


def test_what_filters_left_out_is_kept_too(again):
    assert again(min_interactions=4).left_out == again(min_interactions=4).left_out != {}
    assert Counting.reads == 1


def test_an_error_leaves_nothing_in_the_cache(again, typed, tmp_path):
    (typed / "interactions.csv").write_text("user_id,item_id\nann,nowhere\n")
    with pytest.raises(InputError, match="no text for 1 item"):
        again()
    assert not list(tmp_path.glob("cache/*"))


def test_files_of_a_reader_are_what_it_may_read(typed):
    reader = Tabular(str(typed / "interactions.csv"), str(typed / "items.csv"), users=str(typed / "gone.csv"))
    assert [path.name for path in reader.files()] == ["interactions.csv", "items.csv"]
    (typed / "users.csv.gz").write_bytes(gzip.compress(b"user_id,age\nann,7\n"))
    reader = Tabular(str(typed / "interactions.csv"), str(typed / "items.csv"), users=str(typed / "users.csv.gz"))
    assert [path.name for path in reader.files()] == ["interactions.csv", "items.csv", "users.csv.gz"]
