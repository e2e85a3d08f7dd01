"""Bytes of a file, unpacked by its name's ending."""

from pathlib import Path

import pyarrow as pa

COMPRESSED = {".gz", ".zst", ".bz2"}


def read_bytes(path: Path) -> bytes:
    """The content of a file, unpacked if its name ends in .gz, .zst or .bz2.

    Raises:
        OSError: if it can't be read or unpacked.
    """
    with pa.input_stream(str(path), compression="detect") as stream:
        data: bytes = stream.read()
    return data
