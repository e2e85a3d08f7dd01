"""Tables on disk: CSV, TSV, Parquet and JSON Lines, read whole, column by column."""

import csv
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from recall_lightning.data.readers.broken import Sieve
from recall_lightning.data.readers.compressed import COMPRESSED, read_bytes
from recall_lightning.data.readers.json_lines import json_line, read_json_lines
from recall_lightning.errors import InputError

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".inter": "\t", ".item": "\t", ".user": "\t"}
_ATOMIC = {".inter", ".item", ".user"}  # RecBole's atomic files: tabs, no quoting, `name:type` headers
_JSON_LINES = {".jsonl", ".ndjson"}


def read_table(path: Path, *, encoding: str = "utf-8", sieve: Sieve | None = None) -> pa.Table:
    """Read a table by its file name's ending: .csv, .tsv, .parquet, .jsonl, RecBole's .inter/.item/.user; .gz, .zst.

    Args:
        path: the file.
        encoding: of text files.
        sieve: what is told of broken rows; without one they are errors.

    Returns:
        The columns. Text files give strings alone, and an empty string where a field is empty: nothing is guessed, so
        that `007` stays `007`.

    Raises:
        InputError: if the file is missing, empty, of an unknown kind, or broken (the message names the row).
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file. Check the path, or get known data by `recall-lightning fetch`")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty. It needs a header row and a row for each entry")
    kind = _kind(path)
    if kind == ".parquet":
        return _read_parquet(path)
    if kind in _JSON_LINES:
        return read_json_lines(path, encoding, sieve)
    if kind not in _DELIMITERS:
        known = ", ".join([*_DELIMITERS, ".parquet", ".jsonl"])
        raise InputError(f"{path}: '{kind or path.name}' is no known kind of table. Known endings: {known}")
    atomic = kind in _ATOMIC
    table = read_delimited(path, _DELIMITERS[kind], encoding=encoding, quoted=not atomic, sieve=sieve)
    return _named(table, [name.split(":")[0] for name in table.column_names], path) if atomic else table


def read_delimited(
    path: Path, delimiter: str, *, encoding: str = "utf-8", quoted: bool = True, names: Sequence[str] | None = None,
    sieve: Sieve | None = None,
) -> pa.Table:  # fmt: skip
    """Read delimited text; every column comes as strings.

    Args:
        path: the file, compressed if it ends in .gz, .zst or .bz2.
        delimiter: between fields. One of several characters is allowed where fields can't hold a tab.
        encoding: of the text.
        quoted: whether `"` quotes a field (which may then hold delimiters and new lines).
        names: the columns where the file has no header.
        sieve: what is told of broken rows; without one they are errors.

    Raises:
        InputError: if a row has too few or too many fields, or the bytes are not of this encoding.
    """
    skipped: list[pacsv.InvalidRow] = []

    def parsing(skip: Callable[[pacsv.InvalidRow], str] | None) -> pacsv.ParseOptions:
        return pacsv.ParseOptions(
            delimiter=delimiter if len(delimiter) == 1 else "\t",
            quote_char='"' if quoted else False,
            newlines_in_values=quoted,
            invalid_row_handler=skip if sieve and sieve.max_share else None,
        )

    def skip(row: pacsv.InvalidRow) -> str:
        skipped.append(row)
        return "skip"

    read = pacsv.ReadOptions(encoding=encoding, column_names=names, use_threads=False)

    def columns(schema: pa.Schema) -> pacsv.ConvertOptions:
        return pacsv.ConvertOptions(
            column_types={name: pa.string() for name in schema.names},
            strings_can_be_null=False,
            null_values=[],
            quoted_strings_can_be_null=False,
        )

    try:
        data = _bytes(path, delimiter)
        # the header alone first: a column's type can only be given by its name
        schema = pacsv.open_csv(pa.BufferReader(data), read, parsing(lambda _: "skip")).schema
        table = pacsv.read_csv(pa.BufferReader(data), read, parsing(skip), columns(schema))
    except (pa.ArrowInvalid, pa.ArrowKeyError, UnicodeError, LookupError, OSError) as error:
        raise InputError(f"{path}{_mended(str(error), encoding, path)}") from error
    first_row = 1 if names else 2
    for row in skipped:
        assert sieve is not None  # no row is skipped without one
        reason = f"{row.actual_columns} fields where the header has {row.expected_columns}"
        sieve.refuse(row.number - first_row, reason, "Fill in or quote its fields", rows=row.text.count("\n") + 1)
    return _named(table, table.column_names, path)


def column(table: pa.Table, name: str, path: Path) -> pa.ChunkedArray:
    """A column as strings; what is missing is an empty string, and a list becomes `a, b`.

    Raises:
        InputError: if the table has no such column.
    """
    if name not in table.column_names:
        raise InputError(
            f"{path}, row 1: no column '{name}', only {', '.join(table.column_names)}. Rename one in the header"
        )
    values = table[name]
    try:
        if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
            lists = [chunk.cast(pa.list_(pa.string())) for chunk in values.chunks]
            values = pa.chunked_array([pc.binary_join(chunk, ", ") for chunk in lists], pa.string())
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        return values.cast(pa.string()).fill_null("").combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"{path}: column '{name}' can't be read as text (it holds {table[name].type}). Write it as strings in UTF-8"
        ) from error


def editor_line(path: Path, row: int, first_row: int = 2) -> int:
    """The line at which a row of a table stands in its file, as an editor counts from 1.

    Blank lines and fields of several lines count, so the file is read once more: for messages only.

    Args:
        path: the file; of Parquet, which has no lines, rows are counted as if under a header.
        row: the row of the table, from 0.
        first_row: 2 where delimited text has a header, else 1.
    """
    kind = _kind(path)
    if kind == ".parquet":
        return row + 2
    if kind in _JSON_LINES:
        return json_line(path, row)
    lines = io.StringIO(read_bytes(path).decode("latin-1"), newline="")
    quoted = kind in {".csv", ".tsv"}
    reader = csv.reader(
        lines, delimiter=_DELIMITERS.get(kind, "\t"), quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    )
    before, records = 0, row + first_row - 1  # records to pass
    limit = csv.field_size_limit(sys.maxsize)  # a stray quote may join any number of lines to one field
    try:
        for record in reader:
            if record:
                if records == 0:
                    return before + 1
                records -= 1
            before = reader.line_num
    finally:
        csv.field_size_limit(limit)
    return row + first_row


def _kind(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return next((suffix for suffix in reversed(suffixes) if suffix not in COMPRESSED), "")


def _named(table: pa.Table, names: list[str], path: Path) -> pa.Table:
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InputError(f"{path}, row 1: column '{min(twice)}' stands twice in the header. Rename one")
    return table.rename_columns(names)


def _bytes(path: Path, delimiter: str) -> pa.Buffer:
    data = read_bytes(path)
    if len(delimiter) > 1:  # one pass over the bytes; pandas would fall back to a parser 20 times slower
        data = data.replace(delimiter.encode(), b"\t")
    return pa.py_buffer(data)


def _mended(error: str, encoding: str, path: Path) -> str:
    """Arrow's message as place, problem and cure."""
    if "Expected" in error and "columns, got" in error:
        row, _, rest = error.partition("Row #")[2].partition(": Expected ")
        expected, got = rest.split(":")[0].split(" columns, got ")
        few = int(got) < int(expected)
        cure = "Fill in the missing fields" if few else "Quote a field that holds a delimiter"
        if '"' in rest:
            cure += ", or take out the stray quote that joins rows"
        row = str(editor_line(path, int(row) - 1, first_row=1))
        return f", row {row}: {got} fields, but the header has {expected}. {cure}"
    if "Empty CSV" in error:
        return ": no row after the header. Each entry needs one"
    if "UTF8" in error or "decode" in error or "encoding" in error.lower():
        return f": the text is not {encoding}. Give its encoding, such as latin-1"
    if "straddl" in error:  # two of Arrow's blocks
        return ": a field is longer than 1 MB. Look for a quote that is never closed, and take it out"
    return f": not readable as a table ({error.splitlines()[0]}). Open it and check its first rows"


def _read_parquet(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: no readable Parquet file ({str(error).splitlines()[0]}). Write it again") from error
