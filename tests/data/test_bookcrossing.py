"""Book-Crossing: latin-1, semicolons and escaped quotes, or Kaggle's commas; not a row goes without a word."""

import csv
import io

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recall_lightning.data.readers.bookcrossing import BookCrossing
from recall_lightning.errors import InputError

RATINGS = '"User-ID";"ISBN";"Book-Rating"'
BOOKS = ('"ISBN";"Book-Title";"Book-Author";"Year-Of-Publication";"Publisher";"Image-URL-S"')  # fmt: skip
TEMPLATE = "{title} / {author} / {year} / {publisher}"


def ratings(folder, *lines, **options):
    (folder / "BX-Book-Ratings.csv").write_bytes("\r\n".join([RATINGS, *lines, ""]).encode("latin-1"))
    return BookCrossing(str(folder), **options)


def books(folder, *lines, **options):
    (folder / "BX-Books.csv").write_bytes("\r\n".join([BOOKS, *lines, ""]).encode("latin-1"))
    return BookCrossing(str(folder), **options)


def rows(log):
    return [(log.user_ids[u], log.item_ids[i], w) for u, i, w in zip(log.users, log.items, log.weights, strict=True)]


def test_a_rating_is_a_weight_and_there_are_no_times(tmp_path):
    log = ratings(tmp_path, '"276725";"034545104X";"0"', '"276725";"034545104x";"10"').read_interactions()
    assert rows(log) == [("276725", "034545104X", 0), ("276725", "034545104x", 10)]
    assert log.times is None


def test_an_escaped_quote_is_a_part_of_its_field(tmp_path):
    log = ratings(
        tmp_path, r'"1";"\"0432534220\"";"6"', r'"1";"\"0210000010";"8"', r'"1";"a\\";"8"'
    ).read_interactions()
    assert log.item_ids == ['"0432534220"', '"0210000010', "a\\"]


def test_books_have_title_author_year_and_publisher(tmp_path):
    catalogue = books(
        tmp_path,
        r'"1";"The Word \"Desire\"; a novel";"Rikki Ducornet";"1997";"Henry Holt &amp; Company";"http://x"',
        '"2";"Cien años";"García";"0";"";"http://x"',
    ).read_items(TEMPLATE)
    assert catalogue.texts == [
        'The Word "Desire"; a novel / Rikki Ducornet / 1997 / Henry Holt & Company',
        "Cien años / García",
    ]
    assert catalogue.titles == ['The Word "Desire"; a novel', "Cien años"]


def test_users_have_location_and_age(tmp_path):
    (tmp_path / "BX-Users.csv").write_text(
        '"User-ID";"Location";"Age"\n"1";"nyc, new york, usa";NULL\n"2";"york";"18"\n'
    )
    users = BookCrossing(str(tmp_path)).read_users()
    assert (users.ids, users.columns) == (["1", "2"], {"location": ["nyc, new york, usa", "york"], "age": ["", "18"]})


def test_without_the_file_nothing_is_known_of_users(tmp_path):
    assert BookCrossing(str(tmp_path)).read_users() is None


def test_kaggles_files_are_read_too(tmp_path):
    (tmp_path / "Ratings.csv").write_text("User-ID,ISBN,Book-Rating\n276725,034545104X,0\n")
    (tmp_path / "Books.csv").write_text(
        "ISBN,Book-Title,Book-Author,Year-Of-Publication,Publisher,Image-URL-S\n"
        '1,"The Word ""Desire"", a \\novel",García,1997,Henry Holt &amp; Company,http://x\n',
        encoding="utf-8",
    )
    (tmp_path / "Users.csv").write_text('User-ID,Location,Age\n1,"nyc, usa",\n2,york,18.0\n')
    reader = BookCrossing(str(tmp_path))
    assert rows(reader.read_interactions()) == [("276725", "034545104X", 0)]
    assert reader.read_items(TEMPLATE).texts == ['The Word "Desire", a \\novel / García / 1997 / Henry Holt & Company']
    assert reader.read_users().columns == {"location": ["nyc, usa", "york"], "age": ["", "18"]}


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ('"1";"2"', "2 fields where the header has 3"),
        ('"1";"2";"3";"4"', "4 fields where the header has 3"),
        ('"1";"2;"3"', "a stray quote"),
        ('"1";"2";"3', "a stray quote"),
        ('"1";"2"x;"3"', "a stray quote"),
        (r'"1";"2\";"3"', "a stray quote"),
        ('"1";"";"3"', "item_id is empty"),
        ('"1";"2";"good"', "weight is no number"),
    ],
)
def test_a_broken_line_takes_no_other_with_it(tmp_path, broken, reason):
    reader = ratings(tmp_path, '"1";"7";"5"', "", broken, '"2";"7";"6"', '"3";"8";"7"', max_broken_share=0.5)
    assert rows(reader.read_interactions()) == [("1", "7", 5), ("2", "7", 6), ("3", "8", 7)]
    assert [str(b) for b in reader.broken] == [f"BX-Book-Ratings.csv: 1 of 4 rows left out: {reason} (row 4)"]


FIELD = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\x00"), min_size=1)


def is_also_utf8(written):
    """Whether bytes beyond ASCII read as UTF-8, too, where they stand for something else."""
    try:
        return written.decode("utf-8") != written.decode("latin-1")
    except UnicodeDecodeError:
        return False


@given(st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=6), st.booleans())
def test_any_strings_read_back_equal_from_either_layout(tmp_path_factory, pairs, kaggle):
    folder = tmp_path_factory.mktemp("any")
    text = io.StringIO()
    if kaggle:
        csv.writer(text).writerows([["User-ID", "ISBN", "Book-Rating"], *((*pair, 1) for pair in pairs)])
    else:
        text.write(RATINGS + "\n")
        for pair in pairs:
            user, item = (field.replace("\\", "\\\\").replace('"', '\\"') for field in pair)
            text.write(f'"{user}";"{item}";"1"\n')
    written = text.getvalue().encode("latin-1")
    assume(not is_also_utf8(written))  # such as "Â\x80": nobody can tell which of the two was meant
    (folder / ("Ratings.csv" if kaggle else "BX-Book-Ratings.csv")).write_bytes(written)
    reader = BookCrossing(str(folder), max_broken_share=0)
    log = reader.read_interactions()
    assert [(user, item) for user, item, _ in rows(log)] == pairs


JUNK = st.text(st.sampled_from('";\\a1'), max_size=12)


@given(st.lists(JUNK, max_size=8))
def test_rows_add_up_to_the_lines_that_are_not_blank(tmp_path_factory, lines):
    reader = ratings(tmp_path_factory.mktemp("any"), '"1";"7";"5"', *lines, max_broken_share=1)
    kept = len(reader.read_interactions())
    dropped = sum(broken.dropped for broken in reader.broken)
    assert kept + dropped == 1 + sum(bool(line) for line in lines)


def test_more_broken_lines_than_a_hundredth_are_an_error(tmp_path):
    with pytest.raises(InputError, match=r"BX-Book-Ratings\.csv: 1 of 3 rows \(33\.33%\) are broken.*row 3: 2 fields"):
        ratings(tmp_path, '"1";"7";"5"', '"1";"7"', '"2";"7";"5"').read_interactions()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        (RATINGS, "no row after the header"),
        ('"User-ID";"Book-Rating"\n"1";"2"\n', "row 1: no column 'ISBN', only User-ID, Book-Rating"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(tmp_path, text, message):
    (tmp_path / "BX-Book-Ratings.csv").write_text(text)
    with pytest.raises(InputError, match=rf"BX-Book-Ratings\.csv.*{message}"):
        BookCrossing(str(tmp_path)).read_interactions()


def test_a_folder_without_the_files_is_told(tmp_path):
    with pytest.raises(InputError, match=r"neither BX-Books\.csv nor Books\.csv is here"):
        BookCrossing(str(tmp_path)).read_items(TEMPLATE)
