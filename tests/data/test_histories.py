"""Histories and items as two JSON files."""

import json

import pytest

from recall_lightning.data.readers.histories import JsonHistories
from recall_lightning.errors import InputError


def reader(folder, histories, items=None):
    (folder / "inter.json").write_text(histories if isinstance(histories, str) else json.dumps(histories))
    (folder / "item.json").write_text(items if isinstance(items, str) else json.dumps(items))
    return JsonHistories(str(folder / "inter.json"), str(folder / "item.json"))


def test_histories_give_their_interactions_in_order_without_times(tmp_path):
    log = reader(tmp_path, {"ann": [3, 1, 2], "cy": [], "bob": [1, "007"]}).read_interactions()
    rows = [(log.user_ids[u], log.item_ids[i]) for u, i in zip(log.users, log.items, strict=True)]
    assert rows == [("ann", "3"), ("ann", "1"), ("ann", "2"), ("bob", "1"), ("bob", "007")]
    assert (log.times, log.weights, log.source) == (None, None, "inter.json")


def test_items_have_the_columns_that_any_of_them_has(tmp_path):
    items = {"1": {"title": "Pen &amp; ink", "brand": None}, "2": {"title": "Ruler", "year": 1999, "tags": ["a", "b"]}}
    catalogue = reader(tmp_path, {}, items).read_items("{title}. {brand}. {year}. {tags}")
    assert (catalogue.ids, catalogue.texts) == (["1", "2"], ["Pen & ink", "Ruler. 1999. a, b"])


def test_numbers_in_histories_are_the_items_of_the_same_digits(tmp_path):
    made = reader(tmp_path, {"0": [7]}, {"7": {"title": "Pen"}})
    assert made.read_interactions().item_ids == made.read_items("{title}").ids == ["7"]


def test_nothing_is_known_of_users_and_nothing_left_out(tmp_path):
    made = reader(tmp_path, {"ann": [1]})
    made.read_interactions()
    assert (made.read_users(), made.broken) == (None, [])


@pytest.mark.parametrize(
    ("histories", "message"),
    [
        ("{", r"inter\.json: no JSON \(Expecting.*Write {user: \[item, \.\.\.\]}"),
        ("[1]", r"inter\.json: \[1\] is no JSON object"),
        ({"ann": 5}, r"inter\.json, key 'ann': 5 is no list of items\. Write \[item, \.\.\.\]"),
        ({"ann": [1, None]}, r"inter\.json, key 'ann': None is no id\. Write a string or a whole number"),
        ({"ann": [1, 2.5]}, r"key 'ann': 2\.5 is no id"),
        ({"ann": [True]}, r"key 'ann': True is no id"),
        ({"ann": [""]}, r"key 'ann': '' is no id"),
        ('{"ann": ["\\ud83d"]}', r"key 'ann': '\\ud83d' is no id"),
        ({"": [1]}, r"key '': '' is no id"),
        ({"ann": []}, r"inter\.json: no interaction of any user"),
        ({}, r"inter\.json: no interaction of any user"),
    ],
)
def test_histories_that_cannot_be_used_name_the_user(tmp_path, histories, message):
    with pytest.raises(InputError, match=message):
        reader(tmp_path, histories).read_interactions()


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ({"1": "Pen"}, r"item\.json, key '1': 'Pen' is no object\. Write {column: value}"),
        ({"": {"title": "Pen"}}, r"item\.json, key '': '' is no id"),
        ({}, r"item\.json: no item\. Write {item: {column: value}}"),
        ({"1": {"name": "Pen"}}, r"item\.json: no column 'title'.* it has item_id, name"),
    ],
)
def test_items_that_cannot_be_used_are_named(tmp_path, items, message):
    with pytest.raises(InputError, match=message):
        reader(tmp_path, {}, items).read_items("{title}")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.json: no such file"):
        JsonHistories(str(tmp_path / "gone.json"), "").read_interactions()
