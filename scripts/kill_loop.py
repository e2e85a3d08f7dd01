"""Kills every command that writes, again and again, and tells what it left: nothing that looks whole and is not.

    python scripts/kill_loop.py --tries 20 [--only "fit;export"] [--seed 0] [--most 30]

On small generated data and a tiny encoder. A command runs once to its end; then it is killed before each change of a
file or folder, inside of each file that it writes, and at `--tries` random moments (see `killing.py`). After each kill
all files under names that aren't hidden have to be ones that a whole run has there, too, and the same command run again
(`fit`: on from `last.ckpt`, where there is one) has to end with the files of a run never killed. What was left alike by
several kills is run again once.

Ends with status 1 if anything was broken.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from kill_scenes import Scene, preload, scenes, train, write_data
from killing import FailedError, Moment, Seen, fresh, left, moments, run


@dataclass
class Tally:
    """What came of a scene's tries."""

    tries: int = 0
    killed: int = 0
    files: int = 0
    again: int = 0
    broken: int = 0


def whole_run(scene: Scene, base: Path, folder: Path) -> Seen:
    """Run a scene to its end, in a folder like `base`, in which its `before` has been run first."""
    if scene.before:
        run(scene.before, base)
    fresh(folder, base)
    seen = run(scene.act, folder)[1]
    seen.add(base, base, base)
    return seen


def tried(scene: Scene, base: Path, folder: Path, seen: Seen, chosen: Sequence[Moment]) -> Tally:
    """Kill a scene at moments, and run it again on each state that it left."""
    states = seen.states if scene.repeats else None
    expected = {name: state for name, state in left(folder, states).states.items() if name not in inputs(base)}
    tally, known = Tally(), set()

    def tell(moment: Moment, problems: list[str]) -> None:
        tally.broken += len(problems)
        for what in problems:
            print(f"{moment}: {what}", file=sys.stderr, flush=True)

    for moment in chosen:
        fresh(folder, base)
        killed, _ = run(scene.act, folder, moment)
        found = left(folder, states)
        tally.tries, tally.killed, tally.files = tally.tries + 1, tally.killed + killed, tally.files + len(found.states)
        tell(moment, found.broken)
        state = tuple(sorted(found.states.items()))
        if state in known or not killed:
            continue
        known.add(state)
        tally.again += 1
        try:
            run(scene.again or scene.act, folder)
        except FailedError as error:
            tell(moment, [f"run again: {error}"])
            continue
        after = left(folder, states)
        other = [
            name for name, state in expected.items() if not is_page(name)
            and (after.states.get(name) != state if scene.repeats else name not in after.states)
        ]  # fmt: skip
        after.broken += [f"{name} is not that of a run never killed" for name in other]
        tell(moment, [f"run again: {what}" for what in after.broken])
    return tally


def is_page(name: str) -> bool:
    """Whether a file is TensorBoard's: a run that goes on where all training was done draws no page of it again."""
    return name.endswith(("tfevents", ".tsv", ".pbtxt"))


def inputs(base: Path) -> set[str]:
    return {path.relative_to(base).as_posix() for path in base.rglob("*") if path.is_file()}


def main(given: Sequence[str]) -> int:
    """Print a table, a row for each command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--tries", type=int, default=20, help="at random moments, beside those at each change of a file"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--most", type=int, help="tries a command, at moments drawn from all of these, to be quick")
    parser.add_argument("--only", help="commands, as the table names them, separated by ; (or how they begin)")
    asked = parser.parse_args(given)
    wanted, names = (asked.only or "").split(";"), {scene.name for scene in scenes()}
    bad = False
    # temporary files of another file system, where there is one: what is moved from there is copied
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory() as room, tempfile.TemporaryDirectory(dir=memory) as far:
        os.environ["TMPDIR"] = tempfile.tempdir = far
        data = Path(room).resolve() / "data"
        data.mkdir()
        write_data(data)
        preload(data / "bert")
        run(train, data)
        print("| command | changes | tries | killed | files found | run again | broken |")
        print("|---" * 7 + "|", flush=True)
        for scene in scenes():
            if not any(scene.name == name or (name not in names and scene.name.startswith(name)) for name in wanted):
                continue
            base, folder = data.with_name("base"), data.with_name("try")
            fresh(base, data)
            seen = whole_run(scene, base, folder)
            draw = np.random.default_rng(asked.seed)
            every = list(moments(seen, draw, asked.tries))
            some = sorted(draw.permutation(len(every))[: asked.most].tolist())
            tally = tried(scene, base, folder, seen, [every[at] for at in some])
            for name in in_place(seen):
                print(f"written in place: {name}", file=sys.stderr, flush=True)
            n_broken = tally.broken + len(in_place(seen))
            row = [scene.name, seen.n_changes, tally.tries, tally.killed, tally.files, tally.again, n_broken]
            print(f"| {' | '.join(map(str, row))} |", flush=True)
            bad |= n_broken > 0
    return int(bad)


def in_place(seen: Seen) -> list[str]:
    """Files that are written under their own names, though they are none that is only appended to."""
    return [name for name in dict.fromkeys(seen.in_place) if "tfevents" not in name and not name.endswith("-journal")]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
