"""Reader of MovieLens-100K and -1M, as GroupLens publishes them and as RecBole's packages carry them."""

import re
from pathlib import Path

import pyarrow as pa

from recall_lightning.data.catalogue import Catalogue
from recall_lightning.data.interactions import InteractionLog
from recall_lightning.data.readers.base import Reader
from recall_lightning.data.readers.columns import interaction_log
from recall_lightning.data.readers.tables import column, read_delimited, read_table
from recall_lightning.data.readers.tabular import described
from recall_lightning.errors import InputError

RATINGS = {"u.data": "\t", "ratings.dat": "::"}
_COLUMNS = ["user_id", "item_id", "weight", "timestamp"]
_GENRES_100K = [
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
]  # fmt: skip
_ITEMS_100K = ["item_id", "title", "release_date", "video_release_date", "url", *_GENRES_100K]
_EXTRA_1M = ["item_id", "full_title", "released_year", "rated", "released", "all_genres", "director", "writers",
             "actors", "plot", "poster"]  # fmt: skip
_ARTICLE = re.compile(
    r"([^()]+), (The|A|An|La|Le|Les|L'|Il|Lo|El|Los|Las|Der|Die|Das|Een|Det|Den|O|Os)(?=\s*(?:\(|\)|$))"
)


class MovieLens(Reader):
    """MovieLens-100K or -1M: whichever of its layouts lies in the folder.

    Items have the columns `title` (articles in front: "The Shawshank Redemption"), `year` and `genres` ("Action,
    Sci-Fi"); -1M also `rated`, `released`, `director`, `writers`, `actors` and `plot` where the folder holds
    `movies_extrainfos.dat`. A rating is an interaction's weight.

    Args:
        path: the folder, such as `downloads/movielens-100k`.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def read_interactions(self) -> InteractionLog:
        for name in RATINGS:
            if (self.path / name).is_file():
                return read_ratings(self.path / name)
        path = self._atomic("inter")
        return interaction_log(read_table(path), path, weight="rating")

    def read_items(self, template: str) -> Catalogue:
        if (path := self.path / "u.item").is_file():
            table, first_row = _items_100k(path), 1
        elif (path := self.path / "movies.dat").is_file():
            table, first_row = _items_1m(path), 1
        else:
            path = self._atomic("item")
            table, first_row = _items_atomic(path), 2
        return described(table, template, path, first_row=first_row)

    def _atomic(self, kind: str) -> Path:
        found = sorted(self.path.glob(f"*.{kind}"))
        if not found:
            raise InputError(
                f"{self.path}: no MovieLens data here: neither u.data, ratings.dat nor a file *.{kind}. Get it by "
                "`recall-lightning fetch movielens-100k` (or movielens-1m)"
            )
        return found[0]


def read_ratings(path: Path) -> InteractionLog:
    """Read `u.data` or `ratings.dat`.

    Raises:
        InputError: if a row can't be used.
    """
    table = read_delimited(path, RATINGS[path.name], encoding="latin-1", quoted=False, names=_COLUMNS)
    return interaction_log(table, path, first_row=1)


def _items_100k(path: Path) -> pa.Table:
    table = read_delimited(path, "|", encoding="latin-1", quoted=False, names=_ITEMS_100K)
    flags = [column(table, genre, path).to_pylist() for genre in _GENRES_100K]
    genres = [
        ", ".join(name for name, flag in zip(_GENRES_100K[1:], row, strict=True) if flag == "1")
        for row in zip(*flags[1:], strict=True)
    ]
    return _items(table, path, [_dated(title) for title in column(table, "title", path).to_pylist()], genres)


def _items_1m(path: Path) -> pa.Table:
    table = read_delimited(path, "::", encoding="latin-1", quoted=False, names=["item_id", "title", "genres"])
    genres = [text.replace("|", ", ") for text in column(table, "genres", path).to_pylist()]
    items = _items(table, path, [_dated(title) for title in column(table, "title", path).to_pylist()], genres)
    extra_path = path.with_name("movies_extrainfos.dat")
    if not extra_path.is_file():
        return items
    extra = read_delimited(extra_path, "::", quoted=False, names=_EXTRA_1M)
    row_of = {item: row for row, item in enumerate(column(extra, "item_id", extra_path).to_pylist())}
    rows = [row_of.get(item, -1) for item in items["item_id"].to_pylist()]
    for name in ("rated", "released", "director", "writers", "actors", "plot"):
        values = column(extra, name, extra_path).to_pylist()
        known = ["" if row < 0 or values[row] in {"N/A", "NA"} else values[row] for row in rows]
        items = items.append_column(name, pa.array(known, pa.string()))
    return items


def _items_atomic(path: Path) -> pa.Table:
    table = read_table(path)
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
