"""Reader of MovieLens, as GroupLens publishes it and as RecBole's packages carry it."""

import re
from pathlib import Path

import pyarrow as pa

from recall_lightning.data.catalogue import Catalogue
from recall_lightning.data.interaction_log import InteractionLog
from recall_lightning.data.readers.base import Reader
from recall_lightning.data.readers.broken import Sieve
from recall_lightning.data.readers.columns import interaction_log
from recall_lightning.data.readers.entities import described, users_of
from recall_lightning.data.readers.tables import column, read_delimited, read_table
from recall_lightning.data.users import Users
from recall_lightning.errors import InputError

RATINGS = {"u.data": "\t", "ratings.dat": "::"}
_USER_COLUMNS = ["gender", "age", "occupation", "zip_code"]
_USERS = {
    "u.user": ("|", ["age", "gender", "occupation", "zip_code"]),
    "users.dat": ("::", ["gender", "age", "occupation", "zip_code"]),
}
_GENRES_100K = [
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
]  # fmt: skip
_COLUMNS_100K = ["item_id", "title", "release_date", "video_release_date", "url", *_GENRES_100K]
_EXTRA_1M = ["item_id", "full_title", "released_year", "rated", "released", "all_genres", "director", "writers",
             "actors", "plot", "poster"]  # fmt: skip
_ARTICLE = re.compile(
    r"([^()]+), (The|A|An|La|Le|Les|L'|Il|Lo|El|Los|Las|Der|Die|Das|Een|Det|Den|O|Os)(?=\s*(?:\(|\)|$))"
)


class MovieLens(Reader):
    """MovieLens-100K, -1M, -20M, -25M or -32M: whichever of its layouts lies in the folder.

    Items have the columns `title` (articles in front: "The Shawshank Redemption"), `year` and `genres` ("Action,
    Sci-Fi"); -1M also `rated`, `released`, `director`, `writers`, `actors` and `plot` where the folder holds
    `movies_extrainfos.dat`. Users of -100K and -1M have `gender`, `age`, `occupation` (a number in -1M, where `age`
    is the lower end of a range) and `zip_code`; the others say nothing of users. A rating is an interaction's weight.

    Args:
        path: the folder, such as `downloads/movielens-100k`.
        max_broken_share: share of a file's rows that may be broken, and are then left out and counted; 0 makes the
            first broken row an error.
    """

    def __init__(self, path: str, max_broken_share: float = 0.0) -> None:
        super().__init__(max_broken_share)
        self.path = Path(path)

    def read_interactions(self) -> InteractionLog:
        for name in RATINGS:
            if (path := self.path / name).is_file():
                return read_ratings(path, self._sieve(path, first_row=1))
        if (path := self.path / "ratings.csv").is_file():
            sieve = self._sieve(path)
            return interaction_log(read_table(path, sieve=sieve), sieve, user="userId", item="movieId", weight="rating")
        path = self._atomic("inter")
        sieve = self._sieve(path)
        return interaction_log(read_table(path, sieve=sieve), sieve, weight="rating")

    def read_items(self, template: str) -> Catalogue:
        for name, (items_of, first_row) in _ITEMS.items():
            if (path := self.path / name).is_file():
                sieve = self._sieve(path, first_row=first_row)
                table = items_of(path, sieve)
                if (extra := self.path / "movies_extrainfos.dat").is_file():
                    table = _with_extra(table, extra, self._sieve(extra, first_row=1))
                return described(table, template, sieve)
        path = self._atomic("item")
        sieve = self._sieve(path)
        return described(_items_atomic(path, sieve), template, sieve)

    def read_users(self) -> Users | None:
        for name, (delimiter, names) in _USERS.items():
            if (path := self.path / name).is_file():
                sieve = self._sieve(path, first_row=1)
                table = read_delimited(
                    path, delimiter, encoding="latin-1", quoted=False, names=["user_id", *names], sieve=sieve
                )
                return users_of(table.select(["user_id", *_USER_COLUMNS]), sieve)
        found = sorted(self.path.glob("*.user"))
        if not found:
            return None
        sieve = self._sieve(found[0])
        table = read_table(found[0], sieve=sieve)
        columns = {name: column(table, name, found[0]) for name in ("user_id", *_USER_COLUMNS)}
        return users_of(pa.table(columns), sieve)

    def _atomic(self, kind: str) -> Path:
        found = sorted(self.path.glob(f"*.{kind}"))
        if not found:
            raise InputError(
                f"{self.path}: no MovieLens data here: neither u.data, ratings.dat, ratings.csv nor a file *.{kind}. "
                "Get it by `recall-lightning fetch movielens-100k` (or movielens-1m)"
            )
        return found[0]


def read_ratings(path: Path, sieve: Sieve) -> InteractionLog:
    """Read `u.data` or `ratings.dat`.

    Raises:
        InputError: if more rows are broken than may be.
    """
    names = ["user_id", "item_id", "weight", "timestamp"]
    return interaction_log(
        read_delimited(path, RATINGS[path.name], encoding="latin-1", quoted=False, names=names, sieve=sieve), sieve
    )


def _items_100k(path: Path, sieve: Sieve) -> pa.Table:
    table = read_delimited(path, "|", encoding="latin-1", quoted=False, names=_COLUMNS_100K, sieve=sieve)
    flags = [column(table, genre, path).to_pylist() for genre in _GENRES_100K]
    genres = [
        ", ".join(name for name, flag in zip(_GENRES_100K[1:], row, strict=True) if flag == "1")
        for row in zip(*flags[1:], strict=True)
    ]
    return _items(table, path, [_dated(title) for title in column(table, "title", path).to_pylist()], genres)


def _items_1m(path: Path, sieve: Sieve) -> pa.Table:
    names = ["item_id", "title", "genres"]
    table = read_delimited(path, "::", encoding="latin-1", quoted=False, names=names, sieve=sieve)
    return _with_genres(table, path)


def _items_20m(path: Path, sieve: Sieve) -> pa.Table:
    table = read_table(path, sieve=sieve)
    columns = {"item_id": "movieId", "title": "title", "genres": "genres"}
    return _with_genres(pa.table({name: column(table, own, path) for name, own in columns.items()}), path)


def _with_genres(table: pa.Table, path: Path) -> pa.Table:
    genres = [
        "" if text == "(no genres listed)" else text.replace("|", ", ")
        for text in column(table, "genres", path).to_pylist()
    ]
    return _items(table, path, [_dated(title) for title in column(table, "title", path).to_pylist()], genres)


def _with_extra(items: pa.Table, path: Path, sieve: Sieve) -> pa.Table:
    extra = read_delimited(path, "::", quoted=False, names=_EXTRA_1M, sieve=sieve)
    sieve.finish(len(extra))
    row_of = {item: row for row, item in enumerate(column(extra, "item_id", path).to_pylist())}
    rows = [row_of.get(item, -1) for item in items["item_id"].to_pylist()]
    for name in ("rated", "released", "director", "writers", "actors", "plot"):
        values = column(extra, name, path).to_pylist()
        known = ["" if row < 0 or values[row] in {"N/A", "NA"} else values[row] for row in rows]
        items = items.append_column(name, pa.array(known, pa.string()))
    return items


# name of the file: what reads it, and the line of its first row
_ITEMS = {"u.item": (_items_100k, 1), "movies.dat": (_items_1m, 1), "movies.csv": (_items_20m, 2)}


def _items_atomic(path: Path, sieve: Sieve) -> pa.Table:
    table = read_table(path, sieve=sieve)
    names = ("movie_title", "release_year", "class" if "class" in table.column_names else "genre")
    titles, years, genres = (column(table, name, path).to_pylist() for name in names)
    dated = [(title.replace("unkonwn", "unknown"), year) for title, year in zip(titles, _known(years), strict=True)]
    return _items(table, path, dated, [", ".join(text.split()) for text in _known(genres)])


def _known(values: list[str]) -> list[str]:
    """RecBole writes "unknown" or "unkonwn" where GroupLens has nothing."""
    return ["" if value in {"unknown", "unkonwn"} else value for value in values]


def _items(table: pa.Table, path: Path, dated: list[tuple[str, str]], genres: list[str]) -> pa.Table:
    return pa.table(
        {
            "item_id": column(table, "item_id", path),
            "title": [_ARTICLE.sub(r"\2 \1", title).replace("L' ", "L'") for title, _ in dated],
            "year": [year for _, year in dated],
            "genres": genres,
        }
    )


def _dated(title: str) -> tuple[str, str]:
    """`"Heat (1995)"` as `("Heat", "1995")`."""
    match = re.fullmatch(r"(.*\S)\s*\((\d{4})(?:/I+)?\)\s*", title)
    return (match[1], match[2]) if match else (title.strip(), "")
