"""A table of items as a `Catalogue`, a table of users as `Users`."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recall_lightning.data.catalogue import Catalogue, describe
from recall_lightning.data.readers.broken import Sieve
from recall_lightning.data.readers.tables import column
from recall_lightning.data.template import Template
from recall_lightning.data.users import Users

EMPTY_ID = "Fill it in, or take the row out"


def described(table: pa.Table, template: str, sieve: Sieve, *, item: str = "item_id") -> Catalogue:
    """The catalogue of a table of items.

    Args:
        table: its rows.
        template: how their texts are made, see `Template`.
        sieve: of the file it came from.
        item: the column of ids.

    Raises:
        InputError: if the ids or a column of the template are missing, or too many rows are broken.
    """
    sieve.begin(len(table), "item")
    ids = column(table, item, sieve.path)  # its absence is told before the template's columns are looked for
    made = Template(template)
    made.check(table.column_names, str(sieve.path))
    table = sieve.sift(table, ~_empty(ids), f"{item} is empty", EMPTY_ID)
    used = {"title", "name", *made.fields}  # the others may hold what is no text
    sieve.finish(len(table))
    columns = {name: column(table, name, sieve.path).to_pylist() for name in table.column_names if name in used}
    columns["item_id"] = column(table, item, sieve.path).to_pylist()
    return describe(columns, template, str(sieve.path), line=sieve.line)


def users_of(table: pa.Table, sieve: Sieve, *, user: str = "user_id") -> Users:
    """The users of a table, with all its other columns.

    Args:
        table: its rows.
        sieve: of the file it came from.
        user: the column of ids.

    Raises:
        InputError: if the ids are missing, or too many rows are broken: a user's second row is.
    """
    sieve.begin(len(table), "user")
    ids = column(table, user, sieve.path)
    table = sieve.sift(table, ~_empty(ids), f"{user} is empty", EMPTY_ID)
    ids = column(table, user, sieve.path)
    codes = ids.dictionary_encode()
    codes = codes.combine_chunks() if isinstance(codes, pa.ChunkedArray) else codes
    first = np.zeros(len(table), bool)
    first[np.unique(codes.indices.to_numpy(), return_index=True)[1]] = True
    told = "has a row above"
    table = sieve.sift(
        table, first, f"the user {told}", "Keep one row a user", lambda row: f"user {ids[row].as_py()!r} {told}"
    )
    sieve.finish(len(table))
    names = [name for name in table.column_names if name != user]
    columns = {name: column(table, name, sieve.path).to_pylist() for name in names}
    return Users(column(table, user, sieve.path).to_pylist(), columns)


def _empty(values: pa.Array) -> NDArray[np.bool_]:
    empty: NDArray[np.bool_] = pc.equal(values, "").to_numpy(zero_copy_only=False)
    return empty
