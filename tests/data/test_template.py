"""Templates: a missing part goes with its brackets, its label and its separator."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recall_lightning.data.template import Template
from recall_lightning.errors import InputError


def render(template, **values):
    made = Template(template)
    return made.render({name: values.get(name) for name in made.fields})


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"title": "Heat", "year": "1995", "genres": "Crime"}, "Heat (1995). Crime"),
        ({"title": "Heat", "year": "1995"}, "Heat (1995)"),
        ({"title": "Heat", "genres": "Crime"}, "Heat. Crime"),
        ({"year": "1995", "genres": "Crime"}, "(1995). Crime"),
        ({"title": "Heat"}, "Heat"),
        ({"year": "1995"}, "(1995)"),
        ({"genres": "Crime"}, "Crime"),
        ({}, ""),
    ],
)
def test_brackets_and_separators_go_with_what_is_missing(values, text):
    assert render("{title} ({year}). {genres}", **values) == text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"title": "Pen", "genres": "Office", "brand": "Bic"}, "Pen. Genres: Office. By Bic"),
        ({"title": "Pen", "brand": "Bic"}, "Pen. By Bic"),
        ({"title": "Pen", "genres": "Office"}, "Pen. Genres: Office"),
        ({"genres": "Office", "brand": "Bic"}, "Genres: Office. By Bic"),
        ({"title": "Pen"}, "Pen"),
        ({"brand": "Bic"}, "By Bic"),
    ],
)
def test_a_label_goes_with_what_it_introduces(values, text):
    assert render("{title}. Genres: {genres}. By {brand}", **values) == text


@pytest.mark.parametrize(
    ("template", "values", "text"),
    [
        ("Title: {title}.", {"title": "Heat"}, "Title: Heat."),
        ("Title: {title}.", {}, ""),
        ("{title} [{year}] - {brand}", {"title": "Heat", "brand": "Fox"}, "Heat - Fox"),
        ("{title} | {brand}", {"title": "  Heat\n"}, "Heat"),
        ("{title}", {"title": " \t "}, ""),
        ("{{{title}}}", {"title": "Heat"}, "{Heat}"),
        ("{{a}} {title} {{b}} {year}", {"title": "Heat", "year": "1995"}, "{a} Heat {b} 1995"),
        ("{title} {title}", {"title": "Heat"}, "Heat Heat"),
        ("{title}", {"title": "{year} 100% {"}, "{year} 100% {"),
    ],
)
def test_what_a_template_gives(template, values, text):
    assert render(template, **values) == text


PART = st.text("abc é0", min_size=1).map(str.strip).filter(bool)


@given(st.lists(PART, min_size=1, max_size=4), st.sampled_from([" ", ". ", " - ", ", "]), st.data())
def test_with_plain_separators_a_text_is_what_is_there_joined(values, separator, data):
    names = [f"field_{i}" for i in range(len(values))]
    here = data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
    made = Template(separator.join("{" + name + "}" for name in names))
    row = dict(zip(names, (v if h else "" for v, h in zip(values, here, strict=True)), strict=True))
    assert made.render(row) == separator.join(itertools.compress(values, here))


def test_the_fields_are_named_in_order():
    assert Template("{title} ({year}). {genres}").fields == ["title", "year", "genres"]


def test_an_unknown_column_is_told_with_the_file_and_the_columns_it_has():
    with pytest.raises(InputError, match=re.escape(
        "items.csv: no column 'yaer', which data.text '{title} ({yaer})' names: it has item_id, title, year"
    )):  # fmt: skip
        Template("{title} ({yaer})").check(["item_id", "title", "year"], "items.csv")
    Template("{title} ({year})").check(["item_id", "title", "year"], "items.csv")


@pytest.mark.parametrize("template", ["", "title", "{}", "{title} {}", "{{title}}"])
def test_a_template_without_a_column_is_refused(template):
    with pytest.raises(InputError, match=r"^data\.text: .* names no column: write one in braces, such as '{title}'$"):
        Template(template)


@pytest.mark.parametrize("template", ["{title", "title}", "{title} {", "{title!}"])
def test_an_unbalanced_brace_is_refused(template):
    with pytest.raises(InputError, match=r"^data\.text: .* is no template .*Write column names in braces$"):
        Template(template)
