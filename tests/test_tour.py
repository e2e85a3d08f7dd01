"""`scripts/tour.py`: the whole walk, on a slice of MovieLens-100K."""

import contextlib
import importlib.util
import io
import shutil
from pathlib import Path

import pytest

from recall_lightning import Recommender

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")
SCRIPT = Path(__file__).parent.parent / "scripts" / "tour.py"
spec = importlib.util.spec_from_file_location("tour", SCRIPT)
tour = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tour)


@pytest.fixture(scope="module")
def few_users(movielens, tmp_path_factory):
    """MovieLens-100K with every item, but with the interactions of users 1 to 60 alone."""
    folder = tmp_path_factory.mktemp("slice")
    for file in movielens.iterdir():
        if file.name != "u.data" and file.suffix != ".inter":
            shutil.copy(file, folder)
            continue
        lines = file.read_text().splitlines(keepends=True)
        wanted = {"user_id:token", *map(str, range(1, 61))}
        (folder / file.name).write_text("".join(line for line in lines if line.partition("\t")[0] in wanted))
    return folder


@pytest.fixture(scope="module")
def walked(few_users, tiny_encoder, tmp_path_factory):
    """The folder of a whole walk, and what it told."""
    out, told = tmp_path_factory.mktemp("tour"), io.StringIO()
    with contextlib.redirect_stdout(told):
        tour.main(["--data", str(few_users), "--encoder", str(tiny_encoder), "--epochs", "1", "--out", str(out)])
    return out, told.getvalue()


def test_it_stops_everywhere_and_leaves_plots(walked):
    out, told = walked
    stops = [
        "Toy Story (1995). Animation, Children's, Comedy",
        "validation Recall@10",
        "popularity 0.",
        "nearest to Alien",
    ]
    stops += ["1. ", "no item; words: ", "Added(new=1, changed=0, unchanged=0)", "the new film is ", "zoe, adapted: "]
    assert [stop for stop in stops if stop not in told] == []
    plots = {file.stem for file in out.glob("*.png") if file.stat().st_size > 1000}
    assert plots == {"tour-data", "tour-training", "tour-items", "tour-newcomers"}


def test_recall_is_told_after_each_step_for_every_support(walked):
    lines = [line for line in walked[1].splitlines() if "after each step" in line]
    assert [int(line.split()[0]) for line in lines] == tour.SUPPORTS
    assert all(len(line.partition(":")[2].split()) == 7 for line in lines)


def test_its_checkpoint_is_the_model_that_it_tested(walked, few_users, tiny_encoder, capsys):
    out, told = walked
    data = tour.read(few_users, tiny_encoder)
    capsys.readouterr()
    tour.evaluate(tour.RecallModule.load_from_checkpoint(out / "model.ckpt"), data)
    assert capsys.readouterr().out in told


def test_a_made_up_user_gets_items_that_are_not_in_their_history(walked):
    recommender = Recommender.from_checkpoint(walked[0] / "model.ckpt")
    history = tour.ids_of(recommender, tour.LIKED)
    best = recommender.recommend({"zoe": history}, k=5).of("zoe")
    assert len(best) == 5
    assert not {item for item, _ in best} & set(history)
