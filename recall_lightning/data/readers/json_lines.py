"""JSON Lines: an object a line, as a table."""

import itertools
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json as pajson

from recall_lightning.data.readers.broken import Sieve
from recall_lightning.data.readers.compressed import read_bytes
from recall_lightning.errors import InputError

_ONE_OBJECT = "Each line must hold one"


def read_json_lines(path: Path, encoding: str, sieve: Sieve | None = None) -> pa.Table:
    """Read a file of JSON objects, one a line; blank lines are passed over.

    Args:
        path: the file, compressed if it ends in .gz, .zst or .bz2.
        encoding: of its text.
        sieve: what is told of broken lines; without one they are errors.

    Raises:
        InputError: if the file is not of this encoding, or a line is broken.
    """
    sieve = sieve or Sieve(path, line_of=lambda place: json_line(path, place))
    try:
        raw = read_bytes(path)
    except OSError as error:
        problem = str(error).splitlines()[0]
        raise InputError(f"{path}: not readable as a table ({problem}). Open it and check its first rows") from error
    try:
        data = raw.decode(encoding).encode()  # Arrow itself would let broken UTF-8 pass
    except (UnicodeError, LookupError) as error:
        if sieve.max_share == 0 or isinstance(error, LookupError):
            raise InputError(f"{path}: the text is not {encoding}. Give its encoding, such as latin-1") from error
        data = _usable(raw, encoding, sieve)
    else:
        try:
            return _parsed(data)
        except pa.ArrowInvalid:
            data = _usable(data, "utf-8", sieve)
    try:
        return _parsed(data)
    except pa.ArrowInvalid as error:
        if not data:
            sieve.finish(0)
        raise InputError(
            f"{path}: not readable as JSON Lines ({str(error).splitlines()[0]}). Write it again, an object a line"
        ) from error


def json_line(path: Path, place: int) -> int:
    """The line of a file at which its entry number `place`, from 0, stands, as an editor counts."""
    lines = read_bytes(path).splitlines()
    filled = (number for number, line in enumerate(lines, start=1) if line.strip())
    return next(itertools.islice(filled, place, None), place + 1)


def _parsed(data: bytes) -> pa.Table:
    table = pajson.read_json(pa.BufferReader(data))
    dated = [(field.name, pa.string()) for field in table.schema if pa.types.is_timestamp(field.type)]
    if dated:  # Arrow's guess: but an id such as "2000-01-01" is a string like any other
        options = pajson.ParseOptions(explicit_schema=pa.schema(dated))
        table = pajson.read_json(pa.BufferReader(data), parse_options=options)
    return table


def _usable(data: bytes, encoding: str, sieve: Sieve) -> bytes:
    """The lines that hold an object of the same types as those above."""
    kinds: dict[str, str] = {}
    kept = []
    for place, line in enumerate(line for line in data.removeprefix(b"\xef\xbb\xbf").splitlines() if line.strip()):
        try:
            entry = json.loads(line.decode(encoding))
        except UnicodeError:
            sieve.refuse(place, f"the text is not {encoding}", "Write it again in this encoding")
            continue
        except ValueError as error:
            sieve.refuse(place, "no JSON object", _ONE_OBJECT, what=f"no JSON object ({error})")
            continue
        if not isinstance(entry, dict):
            sieve.refuse(place, "no JSON object", _ONE_OBJECT, what=f"{entry!r} is no JSON object")
            continue
        if (odd := _odd(entry, kinds)) is not None:
            sieve.refuse(place, f"'{odd[0]}' is of another type than above", "Keep to one type", what=odd[1])
            continue
        kept.append(line.decode(encoding).encode())
    return b"\n".join(kept)


def _odd(entry: dict[str, Any], kinds: dict[str, str]) -> tuple[str, str] | None:
    """Name of the first value of another type than those above, and what is wrong with it."""
    for name, value in entry.items():
        kind = "number" if type(value) in {int, float} else type(value).__name__
        if value is not None and kinds.setdefault(name, kind) != kind:
            return name, f"'{name}' is {value!r}, a {kind}, but above a {kinds[name]}"
    return None
