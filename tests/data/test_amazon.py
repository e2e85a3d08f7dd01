"""Amazon reviews: three years' names and habits, one log and one catalogue."""

import gzip
import json

import pytest

from recall_lightning.data.readers.amazon import AmazonReviews
from recall_lightning.errors import InputError

OLD = {"reviewerID": "A1", "asin": "007", "overall": 5.0, "unixReviewTime": 978300760, "reviewText": "Good"}
NEW = {"user_id": "A1", "asin": "B1", "parent_asin": "007", "rating": 5, "timestamp": 978300760000, "title": "Good"}
TEMPLATE = "{title} / {brand} / {description} / {features} / {categories}"


def reader(folder, reviews=(), products=(), **options):
    for name, lines in (("reviews.json", reviews), ("meta.json", products)):
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        (folder / name).write_text(text, encoding="utf-8")
    return AmazonReviews(str(folder / "reviews.json"), str(folder / "meta.json"), **options)


@pytest.mark.parametrize("review", [OLD, NEW], ids=["2014 and 2018", "2023"])
def test_a_review_of_any_year_is_an_interaction(tmp_path, review):
    log = reader(tmp_path, [review]).read_interactions()
    assert (log.user_ids, log.item_ids) == (["A1"], ["007"])
    assert (log.times.tolist(), log.weights.tolist()) == ([978300760], [5])
    assert log.times.dtype == "int64"


def test_milliseconds_are_kept(tmp_path):
    log = reader(tmp_path, [NEW | {"timestamp": 978300760250}]).read_interactions()
    assert log.times.tolist() == [978300760.25]


def test_reviews_come_in_the_files_order(tmp_path):
    reviews = [OLD | {"reviewerID": user, "asin": item} for user, item in (("b", "2"), ("a", "1"), ("b", "1"))]
    log = reader(tmp_path, reviews).read_interactions()
    rows = [(log.user_ids[u], log.item_ids[i]) for u, i in zip(log.users, log.items, strict=True)]
    assert rows == [("b", "2"), ("a", "1"), ("b", "1")]


def test_products_of_2014_are_literals_of_python(tmp_path):
    line = (
        "{'asin': '007', 'title': \"Girl's Ballet &amp; Tutu\", 'price': 3.17, 'brand': 'Coxlures', "
        "'description': 'Pink', 'categories': [['Sports', 'Dance'], ['Sports', 'Kids']]}"
    )
    texts = reader(tmp_path, products=[line]).read_items(TEMPLATE).texts
    assert texts == ["Girl's Ballet & Tutu / Coxlures / Pink / Sports, Dance, Kids"]


def test_products_of_2018_are_json_with_lists(tmp_path):
    product = {"asin": "007", "title": "Pens &amp; Ink", "brand": "Bic", "description": ["Blue.", "", "Red."],
               "feature": ["Dries fast", "Cheap"], "category": ["Office", "Pens"], "price": "$3.17"}  # fmt: skip
    texts = reader(tmp_path, products=[product]).read_items(TEMPLATE).texts
    assert texts == ["Pens & Ink / Bic / Blue. Red. / Dries fast Cheap / Office, Pens"]


def test_products_of_2023_have_a_store_and_a_parent(tmp_path):
    product = {"parent_asin": "007", "title": "Pens", "store": "Bic", "description": [], "features": ["Dries fast"],
               "categories": ["Office", "Pens"], "price": None}  # fmt: skip
    catalogue = reader(tmp_path, products=[product]).read_items(TEMPLATE)
    assert (catalogue.ids, catalogue.texts) == (["007"], ["Pens / Bic / Dries fast / Office, Pens"])


def test_of_several_rows_of_a_product_each_column_takes_the_first_value_there_is(tmp_path):
    products = [{"asin": "1", "title": "", "brand": "Bic"}, {"asin": "2", "title": "Ruler"},
                {"asin": "1", "title": "Pen", "brand": "Pilot"}, {"asin": "1", "title": "Pens"}]  # fmt: skip
    made = reader(tmp_path, products=products)
    assert made.read_items("{title} / {brand}").texts == ["Pen / Bic", "Ruler"]
    assert made.broken == []


def test_a_title_that_is_a_pages_script_is_no_title(tmp_path):
    products = [{"asin": "1", "title": "var aPageStart = (new Date()).getTime();", "brand": "Bic"}]
    assert reader(tmp_path, products=products).read_items("{title} / {brand}").texts == ["Bic"]


def test_values_may_differ_in_type_between_lines(tmp_path):
    products = [
        {"asin": "1", "title": "Pen", "description": "Blue"},
        {"asin": "2", "title": 1984, "description": ["Red"]},
    ]
    texts = reader(tmp_path, products=products).read_items("{title}. {description}").texts
    assert texts == ["Pen. Blue", "1984. Red"]


def test_compressed_files_are_read_by_their_ending(tmp_path):
    (tmp_path / "r.json.gz").write_bytes(gzip.compress(json.dumps(OLD).encode()))
    assert AmazonReviews(str(tmp_path / "r.json.gz"), "").read_interactions().item_ids == ["007"]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("{", "no JSON object"),
        ("[" * 100_000, "no JSON object"),
        ("5", "no JSON object"),
        (OLD | {"reviewerID": ""}, "reviewerID is empty"),
        (OLD | {"asin": None}, "asin is empty"),
        ({name: value for name, value in OLD.items() if name != "asin"}, "asin is empty"),
        ('{"reviewerID": "\\ud83d"}', "no time"),
        (OLD | {"unixReviewTime": "soon"}, "no time"),
        (OLD | {"overall": None}, "no weight"),
        (OLD | {"overall": float("nan")}, "no weight"),
    ],
)
def test_a_broken_line_is_left_out_and_counted(tmp_path, broken, reason):
    made = reader(tmp_path, [OLD, "", broken, OLD], max_broken_share=0.5)
    assert len(made.read_interactions()) == 2
    assert [(b.file, b.rows, b.dropped, b.reason, b.lines) for b in made.broken] == [
        ("reviews.json", 3, 1, reason, (3,))
    ]


def test_up_to_a_hundredth_of_the_lines_may_be_broken(tmp_path):
    assert len(reader(tmp_path, [OLD] * 99 + ["{"]).read_interactions()) == 99
    with pytest.raises(InputError, match=r"reviews\.json: 1 of 99 rows \(1\.01%\) are broken.*row 99: '{' is no JSON"):
        reader(tmp_path, [OLD] * 98 + ["{"]).read_interactions()
    with pytest.raises(InputError, match=r"meta\.json: 1 of 2 rows \(50\.00%\) are broken.*row 1: '{' is no JSON"):
        reader(tmp_path, products=["{", {"asin": "1", "title": "Pen"}]).read_items("{title}")


def test_half_a_character_in_a_text_does_no_harm(tmp_path):
    assert reader(tmp_path, products=['{"asin": "1", "title": "Pen \\ud83d"}']).read_items("{title}").texts == ["Pen ?"]


def test_what_cannot_be_read_is_told(tmp_path):
    with pytest.raises(InputError, match=r"gone\.json: no such file"):
        AmazonReviews(str(tmp_path / "gone.json"), "").read_interactions()
    with pytest.raises(InputError, match=r"reviews\.json: no row after the header|reviews\.json: no row"):
        reader(tmp_path).read_interactions()
    with pytest.raises(InputError, match=r"meta\.json: no column 'price'.*it has item_id, title, brand, description"):
        reader(tmp_path, products=[{"asin": "1"}]).read_items("{title} {price}")
    (tmp_path / "cut.json.gz").write_bytes(gzip.compress(json.dumps(OLD).encode() * 100)[:-20])
    with pytest.raises(InputError, match=r"cut\.json\.gz: (not readable|1 of 1)"):
        AmazonReviews(str(tmp_path / "cut.json.gz"), "").read_interactions()
