"""The catalogue: each item once, with one text."""

import pytest

from recall_lightning.data.catalogue import describe
from recall_lightning.data.readers.tabular import read_items
from recall_lightning.errors import InputError


def described(*rows, template="{title}. {brand}", **options):
    columns = {"item_id": [], "title": [], "brand": []}
    for row in rows:
        for name, value in zip(columns, row, strict=True):
            columns[name].append(value)
    return describe(columns, template, "items.csv", **options)


def test_items_keep_the_files_order_and_their_ids():
    catalogue = described(("007", "Heat", "Fox"), ("7", "Alien", ""))
    assert (catalogue.ids, catalogue.texts) == (["007", "7"], ["Heat. Fox", "Alien"])
    assert (len(catalogue), catalogue.template) == (2, "{title}. {brand}")
    assert [catalogue.row(item) for item in ("007", "7", "07")] == [0, 1, -1]


def test_two_texts_of_one_item_name_both_rows():
    with pytest.raises(InputError, match=r"^items\.csv, row 4: item '7' has another text than in row 2\. Keep one row"):
        described(("7", "Heat", ""), ("8", "Alien", ""), ("7", "Brazil", ""))


def test_rows_are_counted_from_where_the_table_starts():
    with pytest.raises(InputError, match=r"^items\.csv, row 2: item '7' has another text than in row 1"):
        described(("7", "Heat", ""), ("7", "Brazil", ""), line=lambda row: row + 1)


def test_the_same_text_twice_is_one_item():
    catalogue = described(("7", "Heat", "Fox"), ("8", "Alien", ""), ("7", "Heat", "Fox"))
    assert (catalogue.ids, catalogue.texts) == (["7", "8"], ["Heat. Fox", "Alien"])


def test_columns_out_of_the_template_may_differ():
    assert described(("7", "Heat", "Fox"), ("7", "Heat", "Sony"), template="{title}").ids == ["7"]


def test_rows_without_text_are_left_out():
    catalogue = described(("6", "", ""), ("7", "Heat", ""), ("8", " ", ""))
    assert (catalogue.ids, catalogue.texts, catalogue.row("6")) == (["7"], ["Heat"], -1)


@pytest.mark.parametrize("rows", [[("7", "", ""), ("7", "Heat", "")], [("7", "Heat", ""), ("7", "", "")]])
def test_a_row_without_text_does_not_contradict_one_with(rows):
    assert described(*rows).texts == ["Heat"]


def test_no_text_at_all_is_an_error():
    with pytest.raises(
        InputError, match=r"^items\.csv: no text for any item\. Name columns .* now '{title}\. {brand}'"
    ):
        described(("7", "", ""), ("8", "", ""))


def test_an_empty_id_is_named_by_its_row():
    with pytest.raises(InputError, match=r"^items\.csv, row 3: item_id is empty\. Fill it in, or take the row out"):
        described(("7", "Heat", ""), ("", "Alien", ""))


def test_people_are_shown_the_title_or_the_text_where_there_is_none():
    assert described(("7", "Heat", "Fox"), ("8", "", "Sony")).titles == ["Heat", "Sony"]
    assert described(("7", "Heat", "Fox"), title="brand").titles == ["Fox"]
    assert describe({"item_id": ["7"], "text": ["Warm"]}, "{text}", "items.csv").titles == ["Warm"]
    assert describe({"item_id": ["7"], "name": ["Pen"], "b": ["Bic"]}, "By {b}", "items.csv").titles == ["Pen"]


@pytest.mark.parametrize("column", ["title", "name"])
def test_of_a_file_people_are_shown_the_title_or_name_though_the_text_leaves_it_out(tmp_path, column):
    (tmp_path / "items.csv").write_text(f"item_id,{column},plot\n7,Heat,A thief and a detective\n")
    catalogue = read_items(tmp_path / "items.csv", "{plot}")
    assert (catalogue.texts, catalogue.titles) == (["A thief and a detective"], ["Heat"])


def test_an_update_gives_items_their_new_text_and_title_and_puts_new_ones_behind():
    catalogue = described(("7", "Heat", "Fox"), ("8", "Alien", ""))
    updated = catalogue.updated(described(("9", "Brazil", ""), ("7", "Heat 2", "")))
    assert (updated.ids, updated.titles) == (["7", "8", "9"], ["Heat 2", "Alien", "Brazil"])
    assert updated.texts == ["Heat 2", "Alien", "Brazil"]
    assert catalogue.texts == ["Heat. Fox", "Alien"]  # itself it stays as it is
