"""Tables on disk: CSV, TSV, Parquet and JSON Lines, read whole, column by column."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.json as pajson
import pyarrow.parquet as pq

from recall_lightning.errors import InputError

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".inter": "\t", ".item": "\t", ".user": "\t"}
_ATOMIC = {".inter", ".item", ".user"}  # RecBole's atomic files: tabs, no quoting, `name:type` headers
_COMPRESSED = {".gz", ".zst", ".bz2"}


def read_table(path: Path, *, encoding: str = "utf-8") -> pa.Table:
    """Read a table by its file name's ending: .csv, .tsv, .parquet, .jsonl, RecBole's .inter/.item/.user; .gz, .zst.

    Args:
        path: the file.
        encoding: of text files.

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
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = next((suffix for suffix in reversed(suffixes) if suffix not in _COMPRESSED), "")
    if kind == ".parquet":
        return _read_parquet(path)
    if kind in {".jsonl", ".ndjson"}:
        return _read_json_lines(path)
    if kind not in _DELIMITERS:
        known = ", ".join([*_DELIMITERS, ".parquet", ".jsonl"])
        raise InputError(f"{path}: '{kind or path.name}' is no known kind of table. Known endings: {known}")
    return read_delimited(path, _DELIMITERS[kind], encoding=encoding, quoted=kind not in _ATOMIC)


def read_delimited(
    path: Path, delimiter: str, *, encoding: str = "utf-8", quoted: bool = True, names: Sequence[str] | None = None
) -> pa.Table:
    """Read delimited text; every column comes as strings.

    Args:
        path: the file, compressed if it ends in .gz, .zst or .bz2.
        delimiter: between fields. One of several characters is allowed where fields can't hold a tab.
        encoding: of the text.
        quoted: whether `"` quotes a field (which may then hold delimiters and new lines).
        names: the columns where the file has no header.

    Raises:
        InputError: if a row has too few or too many fields, or the bytes are not of this encoding.
    """
    parse = pacsv.ParseOptions(
        delimiter=delimiter if len(delimiter) == 1 else "\t",
        quote_char='"' if quoted else False,
        newlines_in_values=quoted,
    )
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
        schema = pacsv.open_csv(pa.BufferReader(data), read, parse).schema
        table = pacsv.read_csv(pa.BufferReader(data), read, parse, columns(schema))
    except (pa.ArrowInvalid, pa.ArrowKeyError, UnicodeError, OSError) as error:
        raise InputError(f"{path}{_mended(str(error), encoding)}") from error
    names = [name.split(":")[0] for name in table.column_names] if path.suffix in _ATOMIC else table.column_names
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InputError(f"{path}, row 1: column '{min(twice)}' stands twice in the header. Rename one")
    return table.rename_columns(names)


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
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        values = pa.chunked_array([pc.binary_join(chunk.cast(pa.list_(pa.string())), ", ") for chunk in values.chunks])
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    return values.cast(pa.string()).fill_null("").combine_chunks()


def _bytes(path: Path, delimiter: str) -> pa.Buffer:
    with pa.input_stream(str(path), compression="detect") as stream:
        data = stream.read()
    if len(delimiter) > 1:  # one pass over the bytes; pandas would fall back to a parser 20 times slower
        data = data.replace(delimiter.encode(), b"\t")
    return pa.py_buffer(data)


def _mended(error: str, encoding: str) -> str:
    """Arrow's message as place, problem and cure."""
    if "Expected" in error and "columns, got" in error:
        row, _, rest = error.partition("Row #")[2].partition(": Expected ")
        expected, got = rest.split(":")[0].split(" columns, got ")
        few = int(got) < int(expected)
        cure = (
            "Fill in the missing fields"
            if few
            else "Quote a field that holds a delimiter (or take out the stray quote that joins rows)"
        )
        return f", row {row}: {got} fields, but the header has {expected}. {cure}"
    if "UTF8" in error or "decode" in error or "encoding" in error.lower():
        return f": the text is not {encoding}. Give its encoding, such as latin-1"
    return f": not readable as a table ({error.splitlines()[0]}). Open it and check its first rows"


def _read_parquet(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: no readable Parquet file ({str(error).splitlines()[0]}). Write it again") from error


def _read_json_lines(path: Path) -> pa.Table:
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            return pajson.read_json(stream)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}{_broken_json_line(path, str(error))}") from error


def _broken_json_line(path: Path, error: str) -> str:
    with pa.input_stream(str(path), compression="detect") as stream:
        lines = stream.read().splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            json.loads(line or b"{}")
        except ValueError as wrong:
            return f", row {number}: no JSON object ({wrong}). Each line must hold one"
    return f": not readable as JSON Lines ({error.splitlines()[0]}). Give each column one type throughout"
