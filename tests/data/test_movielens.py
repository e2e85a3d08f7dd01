"""MovieLens: the same movies give the same texts, whichever layout lies in the folder."""

import pytest

from recall_lightning.data.readers.movielens import MovieLens
from recall_lightning.data.users import Users
from recall_lightning.errors import InputError

TEMPLATE = "{title} ({year}). {genres}"
TEXTS = {
    "Toy Story (1995). Animation, Children's, Comedy",
    "The City of Lost Children (La Cité des enfants perdus) (1995). Adventure, Sci-Fi",
    "A Chef in Love (1996). Comedy",
    "The Eye of Vichy (L'Oeil de Vichy) (1993). Documentary",
    "Good Morning (1971)",
    "unknown",
}
LOG = [("1", "1", 5, 978300760), ("2", "3", 3, 978300761), ("1", "2", 4, 978300759)]  # user, movie, rating, second


GENRES = [
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
]  # fmt: skip


def flags(genres):
    return "|".join("1" if name in genres.split() else "0" for name in GENRES)


def movielens_100k(folder):
    movies = [
        "1|Toy Story (1995)|01-Jan-1995||http://us.imdb.com/|" + flags("Animation Children's Comedy"),
        f"2|City of Lost Children, The (Cité des enfants perdus, La) (1995)|01-Jan-1995|||{flags('Adventure Sci-Fi')}",
        f"3|Chef in Love, A (1996)|11-Oct-1996|||{flags('Comedy')}",
        f"4|Eye of Vichy, The (Oeil de Vichy, L') (1993)|01-Jan-1993|||{flags('Documentary')}",
        f"5|Good Morning (1971)|4-Feb-1971|||{flags('unknown')}",
        f"6|unknown||||{flags('unknown')}",
    ]
    (folder / "u.item").write_bytes(("\n".join(movies) + "\n").encode("latin-1"))
    (folder / "u.data").write_text("".join(f"{user}\t{item}\t{weight}\t{time}\n" for user, item, weight, time in LOG))


def movielens_1m(folder):
    movies = [
        "1::Toy Story (1995)::Animation|Children's|Comedy",
        "2::City of Lost Children, The (Cité des enfants perdus, La) (1995)::Adventure|Sci-Fi",
        "3::Chef in Love, A (1996)::Comedy",
        "4::Eye of Vichy, The (Oeil de Vichy, L') (1993)::Documentary",
        "5::Good Morning (1971)::",
        "6::unknown::",
    ]
    (folder / "movies.dat").write_bytes(("\n".join(movies) + "\n").encode("latin-1"))
    (folder / "ratings.dat").write_text("".join("::".join(map(str, row)) + "\n" for row in LOG))


def atomic(folder, genre):
    movies = [
        f"item_id:token\tmovie_title:token_seq\trelease_year:token\t{genre}:token_seq",
        "1\tToy Story\t1995\tAnimation Children's Comedy",
        "2\tCity of Lost Children, The (Cité des enfants perdus, La)\t1995\tAdventure Sci-Fi",
        "3\tChef in Love, A\t1996\tComedy",
        "4\tEye of Vichy, The (Oeil de Vichy, L')\t1993\tDocumentary",
        "5\tGood Morning\t1971\tunknown",
        "6\tunkonwn\tunkonwn\tunknown",  # so spelt in RecBole's package
    ]
    (folder / "ml.item").write_text("\n".join(movies) + "\n", encoding="utf-8")
    rows = "".join(f"{user}\t{item}\t{weight}\t{time}\n" for user, item, weight, time in LOG)
    (folder / "ml.inter").write_text("user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + rows)


def movielens_20m(folder):
    movies = [
        "movieId,title,genres",
        "1,Toy Story (1995),Animation|Children's|Comedy",
        '2,"City of Lost Children, The (Cité des enfants perdus, La) (1995)",Adventure|Sci-Fi',
        '3,"Chef in Love, A (1996)",Comedy',
        '4,"Eye of Vichy, The (Oeil de Vichy, L\') (1993)",Documentary',
        "5,Good Morning (1971),(no genres listed)",
        "6,unknown,(no genres listed)",
    ]
    (folder / "movies.csv").write_text("\r\n".join(movies) + "\r\n", encoding="utf-8", newline="")
    rows = "".join(f"{user},{item},{float(weight)},{time}\r\n" for user, item, weight, time in LOG)
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\r\n" + rows, newline="")


LAYOUTS = [movielens_100k, movielens_1m, movielens_20m, lambda f: atomic(f, "class"), lambda f: atomic(f, "genre")]
NAMES = ["100k", "1m", "20m", "atomic-100k", "atomic-1m"]


@pytest.mark.parametrize("lay_out", LAYOUTS, ids=NAMES)
def test_every_layout_gives_the_same_texts(tmp_path, lay_out):
    lay_out(tmp_path)
    catalogue = MovieLens(str(tmp_path)).read_items(TEMPLATE)
    assert set(catalogue.texts) == TEXTS
    assert catalogue.ids == ["1", "2", "3", "4", "5", "6"]
    assert catalogue.titles[2] == "A Chef in Love"


@pytest.mark.parametrize("lay_out", LAYOUTS, ids=NAMES)
def test_every_layout_gives_the_same_interactions(tmp_path, lay_out):
    lay_out(tmp_path)
    log = MovieLens(str(tmp_path)).read_interactions()
    rows = zip(log.users, log.items, log.weights, log.times, strict=True)
    assert [(log.user_ids[u], log.item_ids[i], weight, time) for u, i, weight, time in rows] == LOG


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Shawshank Redemption, The (1994)", "The Shawshank Redemption (1994)"),
        ("American in Paris, An (1951)", "An American in Paris (1951)"),
        ("Postino, Il (1994)", "Il Postino (1994)"),
        ("Avventura, L' (1960)", "L'Avventura (1960)"),
        ("Besieged (L' Assedio) (1998)", "Besieged (L'Assedio) (1998)"),
        ("Adventures of Priscilla, Queen of the Desert, The (1994)",
         "The Adventures of Priscilla, Queen of the Desert (1994)"),
        ("Good, The Bad and The Ugly, The (1966)", "The Good, The Bad and The Ugly (1966)"),
        ("To Die, A Life (1990)", "To Die, A Life (1990)"),
        ("Heat", "Heat"),
        ("1984 (1984)", "1984 (1984)"),
        ("Heat (1995/I)", "Heat (1995)"),
        ("Heat (1995) ", "Heat (1995)"),
    ],
)  # fmt: skip
def test_articles_stand_in_front_and_the_year_by_itself(tmp_path, written, read):
    (tmp_path / "movies.dat").write_text(f"1::{written}::Drama\n")
    assert MovieLens(str(tmp_path)).read_items("{title} ({year})").texts == [read]


def test_the_extra_file_of_movielens_1m_adds_its_columns_in_utf_8(tmp_path):
    movielens_1m(tmp_path)
    (tmp_path / "movies_extrainfos.dat").write_text(
        "2::La Cité::1995::R::1995-05-17::Fantasy::Marc Caro::Gilles Adrien::Ron Perlman::A scientist – « fou »::u\n"
        "1::Toy Story (1995)::1995::G::1995-11-22::Animation::N/A::NA::Tom Hanks::A doll: jealous::u\n",
        encoding="utf-8",
    )
    texts = MovieLens(str(tmp_path)).read_items("{title}. Directed by {director}. By {writers}. {plot}").texts
    assert texts[:3] == [
        "Toy Story. A doll: jealous",
        "The City of Lost Children (La Cité des enfants perdus). Directed by Marc Caro. By Gilles Adrien. "
        "A scientist – « fou »",
        "A Chef in Love",
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("u.user", "1|24|M|technician|85711\n02|53|F|other|T8H1N\n"),
        ("users.dat", "1::M::24::technician::85711\n02::F::53::other::T8H1N\n"),
        ("ml.user", "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
                    "1\t24\tM\ttechnician\t85711\n02\t53\tF\tother\tT8H1N\n"),
    ],
)  # fmt: skip
def test_every_layout_gives_the_same_users(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert MovieLens(str(tmp_path)).read_users() == Users(
        ["1", "02"],
        {"gender": ["M", "F"], "age": ["24", "53"], "occupation": ["technician", "other"],
         "zip_code": ["85711", "T8H1N"]},
    )  # fmt: skip


def test_the_larger_sets_say_nothing_of_users(tmp_path):
    movielens_20m(tmp_path)
    assert MovieLens(str(tmp_path)).read_users() is None


def test_broken_rows_of_every_file_are_counted_where_some_are_allowed(tmp_path):
    movielens_1m(tmp_path)
    for name, broken in {
        "ratings.dat": "1::2::5::soon\n", "movies.dat": "7::Heat\n",
        "movies_extrainfos.dat": "1\n1::" + "::".join("abcdefghij"),
        "users.dat": "1::M::24::technician::85711\n2::F\n",
    }.items():  # fmt: skip
        with (tmp_path / name).open("a") as file:
            file.write(broken)
    reader = MovieLens(str(tmp_path), max_broken_share=0.5)
    assert len(reader.read_interactions()) == 3
    assert len(reader.read_items(TEMPLATE)) == 6
    assert reader.read_users().ids == ["1"]
    assert [str(b) for b in reader.broken] == [
        "ratings.dat: 1 of 4 rows left out: timestamp is neither seconds nor ISO 8601 (row 4)",
        "movies.dat: 1 of 7 rows left out: 2 fields where the header has 3 (row 7)",
        "movies_extrainfos.dat: 1 of 2 rows left out: 1 fields where the header has 11 (row 1)",
        "users.dat: 1 of 2 rows left out: 2 fields where the header has 5 (row 2)",
    ]


def test_a_folder_without_data_says_how_to_get_it(tmp_path):
    for read in (MovieLens(str(tmp_path)).read_interactions, lambda: MovieLens(str(tmp_path)).read_items(TEMPLATE)):
        with pytest.raises(
            InputError, match=r"no MovieLens data here.*recall-lightning fetch movielens-100k"
        ) as caught:
            read()
        assert str(caught.value).startswith(str(tmp_path))


def test_a_broken_row_of_movies_names_the_file_and_the_row(tmp_path):
    (tmp_path / "movies.dat").write_text("1::Heat (1995)::Crime\n2::Alien (1979)\n")
    with pytest.raises(InputError, match=r"movies\.dat, row 2: 2 fields"):
        MovieLens(str(tmp_path)).read_items(TEMPLATE)
    (tmp_path / "movies.dat").write_text("1::Heat (1995)::Crime\n1::Alien (1979)::Horror\n")
    with pytest.raises(InputError, match=r"movies\.dat, row 2: item '1' has another text than in row 1"):
        MovieLens(str(tmp_path)).read_items(TEMPLATE)


def test_a_column_that_movielens_lacks_is_told_with_those_it_has(tmp_path):
    movielens_100k(tmp_path)
    with pytest.raises(InputError, match=r"u\.item: no column 'plot', .* it has item_id, title, year, genres"):
        MovieLens(str(tmp_path)).read_items("{title} {plot}")
