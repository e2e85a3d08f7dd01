"""`adapt`: the cold-start experiment through the program, on forty typed users."""

import csv
import random
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import yaml

from recall_lightning.baselines.ease import EASE
from recall_lightning.baselines.fused import Fused
from recall_lightning.cli.main import main
from recall_lightning.coldstart.events import NAME

ITEMS = [f"{kind} {n}" for kind in ("lamp", "desk", "pen") for n in range(5)]
FEW = ("--models", "popularity,ease", "--support", "1,2,3")


@dataclass(frozen=True)
class Trained:
    """A config of meta-training, and checkpoints."""

    config: Path
    base: Path
    meta: Path


@pytest.fixture(scope="module")
def trained(tiny_encoder, tmp_path_factory):
    """A base model and one meta-trained from it, made by the program itself."""
    folder = tmp_path_factory.mktemp("adapt")
    write_tables(folder)
    files = {name: str(folder / f"{name}.csv") for name in ("interactions", "items")}
    data = {
        "reader": {"class_path": "recall_lightning.Tabular", "init_args": files},
        "text": "{title}",
        "splits": {"name": "cold_users", "share": 0.2, "k": 1, "n_queries": 2, "window_from": 3},
        "eval_batch_size": 5,
        "cache_dir": str(folder / "cache"),
    }
    encoder = {"path": str(tiny_encoder), "frozen_layers": -1}

    def fit(name, **settings):
        trainer = {"logger": False, "accelerator": "cpu", "max_epochs": 1, "default_root_dir": str(folder / name)}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"trainer": trainer} | settings))
        main(["fit", "--config", str(folder / f"{name}.yaml")])
        return next((folder / name).rglob("best.ckpt"))

    base = fit("base", data=data, model={"encoder": encoder})
    episodes = {"eval_support": [1, 2], "episodes": {"max_support": 3, "n_queries": 2}, "batch_size": 16}
    model = {"encoder": encoder, "init_from": str(base), "inner_loop": {"steps": 2, "rate": 0.5}}
    return Trained(folder / "meta.yaml", base, fit("meta", method="maml", data=data | episodes, model=model))


def write_tables(folder):
    """Users of four to seven interactions, first with items of one kind."""
    draw = random.Random(0)
    (folder / "items.csv").write_text("item_id,title\n" + "".join(f"{n},{title}\n" for n, title in enumerate(ITEMS)))
    lines = ["user_id,item_id"]
    for user in range(40):
        first = user % 3 * 5
        taken = [*draw.sample(range(first, first + 5), draw.randint(3, 5)), *draw.sample(range(15), 3)]
        lines += [f"u{user},{item}" for item in list(dict.fromkeys(taken))[: draw.randint(4, 7)]]
    (folder / "interactions.csv").write_text("\n".join(lines) + "\n")


def adapt(trained, out, *flags):
    main([
        "adapt", "--ckpt", str(trained.meta), "--config", str(trained.config), "--out", str(out), *map(str, flags)
    ])  # fmt: skip
    return figures(out)


def figures(folder):
    with (folder / "adaptation.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def found(trained, tmp_path_factory):
    """Figures of one run, and where its files are."""
    out = tmp_path_factory.mktemp("found")
    return adapt(trained, out, *FEW, "--base", trained.base), out


def test_one_run_writes_a_table_a_report_two_charts_and_events(found):
    assert sorted(path.name for path in found[1].iterdir()) == [
        "adaptation.csv", "adaptation.md", NAME, "recall_by_step.png", "recall_by_support.png"
    ]  # fmt: skip
    text = (found[1] / "adaptation.md").read_text()
    assert "### query next (what follows a user's first k interactions)" in text
    assert "### query fixed: recall@10 by inner step" in text
    assert "### query next: recall@10 minus the best baseline's, same users" in text
    assert "### settings, by validation" in text
    assert "base, fine-tuned, query next: step size" in text


def test_every_model_is_asked_by_both_queries_with_each_number_of_interactions(found):
    rows = {(row["query"], row["support"], row["model"], row["step"]) for row in found[0]}
    models = [("popularity", ""), ("EASE", ""), ("base", ""), ("MAML, unadapted", "")]
    models += [(model, str(step)) for model in ("base, fine-tuned", "MAML, adapted") for step in (0, 1, 2)]
    assert rows == {(query, k, *model) for query in ("next", "fixed") for k in "123" for model in models}
    assert {row["metric"] for row in found[0]} == {"recall@10", "recall@50", "ndcg@10"}


def test_before_the_first_step_an_adapted_model_is_the_unadapted_one(found):
    by = {(r["query"], r["support"], r["metric"], r["model"], r["step"]): r["value"] for r in found[0]}
    for query, k, metric, model, step in by:
        if step == "0":
            start = {"MAML, adapted": "MAML, unadapted", "base, fine-tuned": "base"}[model]
            assert by[query, k, metric, model, "0"] == by[query, k, metric, start, ""]


def test_intervals_hold_the_mean_and_a_paired_difference_is_the_difference_of_means(found):
    by = {(r["query"], r["support"], r["metric"], r["model"], r["step"]): float(r["value"]) for r in found[0]}
    n_intervals = 0
    for row in found[0]:
        adapted = by[row["query"], row["support"], row["metric"], "MAML, adapted", "2"]
        if (row["model"], row["step"]) == ("MAML, adapted", "2"):
            assert row["difference"] == ""
        else:
            assert float(row["difference"]) == pytest.approx(adapted - float(row["value"]), abs=2e-6)
        for name, value in (("", "value"), ("difference_", "difference"), ("over_best_", "over_best")):
            if row[f"{name}low"]:
                n_intervals += 1
                assert float(row[f"{name}low"]) <= float(row[value]) <= float(row[f"{name}high"])
    assert n_intervals > 50


def test_the_fixed_query_asks_the_same_users_for_every_number_of_interactions(found):
    users = {(row["query"], row["support"]): int(row["n_users"]) for row in found[0]}
    assert users["fixed", "1"] == users["fixed", "2"] == users["fixed", "3"] == users["next", "3"]
    assert users["next", "1"] >= users["next", "3"]


def test_events_hold_a_scalar_a_step_and_the_charts(found):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(found[1])).Reload()
    steps = events.Scalars("recall@10, query next/MAML, adapted, k=2")
    expected = [
        float(row["value"])
        for row in found[0]
        if (row["query"], row["support"], row["model"], row["metric"]) == ("next", "2", "MAML, adapted", "recall@10")
    ]
    assert [event.step for event in steps] == [0, 1, 2]
    assert [event.value for event in steps] == pytest.approx(expected, abs=1e-6)
    assert events.Tags()["images"] == ["recall_by_support", "recall_by_step"]


def test_a_second_run_refits_nothing_and_gives_the_same_bytes(found, trained, tmp_path, monkeypatch, capsys):
    def fit(self, train, data):
        raise AssertionError("a kept baseline was fitted again")

    monkeypatch.setattr(EASE, "fit", fit)
    adapt(trained, tmp_path, *FEW, "--base", trained.base)
    assert (tmp_path / "adaptation.csv").read_bytes() == (found[1] / "adaptation.csv").read_bytes()
    assert "EASE, fixed: from the cache" in capsys.readouterr().err


def test_fused_rows_are_those_of_the_weight_that_validation_says(trained, tmp_path):
    found = adapt(trained, tmp_path, *FEW, "--base", trained.base, "--fuse", "popularity,ease", "--part", "validation")
    of = {(row["query"], row["support"], row["model"]): float(row["value"]) for row in found
          if row["metric"] == "recall@10"}  # fmt: skip
    for query, support in {key[:2] for key in of}:
        for alone, fused in (("base", "base, fused"), ("MAML, adapted", "MAML, adapted, fused")):
            # weights of 0 are tried, and of 10 about the baseline alone; the validation's users choose, and are asked
            assert of[query, support, fused] >= of[query, support, alone]
    text = (tmp_path / "adaptation.md").read_text()
    assert re.search(r"base, fused +\| next +\| 1 +\| with (popularity|EASE), by (scores|ranks), weight [\d.]+", text)


def test_fused_rows_change_no_other(found, trained, tmp_path):
    rows = adapt(trained, tmp_path, *FEW, "--base", trained.base, "--fuse", "ease")
    fused = [row for row in rows if row["model"].endswith(", fused")]
    assert {(row["model"], row["query"], row["support"]) for row in fused} == {
        (model, query, k) for model in ("base, fused", "MAML, adapted, fused") for query in ("next", "fixed")
        for k in ("1", "2", "3")
    }  # fmt: skip
    assert [row for row in rows if row not in fused] == found[0]
    assert {row["role"] for row in fused} == {"base fused", "adapted fused"}


def test_fused_by_no_weight_the_adapted_model_is_itself_after_as_many_steps_as_asked(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(Fused, "score_grid", {"way and weight": (("score", 0.0),)})
    found = {}
    for steps in (1, 2):
        rows = adapt(trained, tmp_path / str(steps), *FEW, "--base", trained.base, "--fuse", "ease", "--steps", steps)
        last = {(row["query"], row["support"], row["metric"], row["model"]): row["value"] for row in rows}
        for (*asked, model), value in last.items():
            if model.endswith(", fused"):
                assert float(value) == pytest.approx(float(last[*asked, model.removesuffix(", fused")]), abs=1e-9)
        found[steps] = [value for (*_, model), value in last.items() if model == "MAML, adapted, fused"]
    assert found[1] != found[2]


def test_without_the_base_the_adapted_model_alone_is_fused(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    moved = torch.load(trained.meta, weights_only=True)
    moved["hyper_parameters"]["init_from"] = "gone.ckpt"
    torch.save(moved, tmp_path / "meta.ckpt")
    rows = adapt(replace(trained, meta=tmp_path / "meta.ckpt"), tmp_path / "out", *FEW, "--fuse", "ease")
    assert {row["model"] for row in rows if row["model"].endswith(", fused")} == {"MAML, adapted, fused"}


def test_the_terminal_shows_recall_differences_and_steps(trained, tmp_path, capsys):
    adapt(trained, tmp_path, *FEW, "--base", trained.base, "--query", "next", "--part", "validation", "--steps", 1)
    told = capsys.readouterr().out
    assert "validation: users held out whole, 15 items" in told
    assert "k=1 (9)" in told
    assert "recall@10 minus the best baseline's, same users" in told
    assert "step 0  step 1\n" in told
    assert "step 2" not in told
    assert "query fixed" not in told
    assert "settings are chosen on the very cases shown" in told


def test_without_the_model_that_meta_training_started_from_it_says_how_to_bring_it(trained, tmp_path, capsys):
    elsewhere = tmp_path / "moved.ckpt"
    checkpoint = torch.load(trained.meta, weights_only=True)
    if "init_from" in checkpoint["hyper_parameters"]:
        checkpoint["hyper_parameters"]["init_from"] = str(tmp_path / "gone.ckpt")
    torch.save(checkpoint, elsewhere)
    rows = adapt(Trained(trained.config, trained.base, elsewhere), tmp_path / "out", *FEW, "--query", "next")
    assert {row["model"] for row in rows} == {"popularity", "EASE", "MAML, unadapted", "MAML, adapted"}
    assert "base and base, fine-tuned are left out" in capsys.readouterr().out


def test_without_matplotlib_everything_but_the_charts_is_written(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    adapt(trained, tmp_path / "out", *FEW, "--query", "next")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["adaptation.csv", "adaptation.md", NAME]
    assert "the charts need matplotlib" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--ckpt", "{base}"], "the checkpoint was not meta-trained"),
        (["--base", "{meta}"], "the checkpoint was meta-trained"),
        (["--base", "gone.ckpt"], "gone.ckpt: no such checkpoint"),
        (
            ["--support", "1,9", "--query", "next"],
            r"--support 9: no history of the users held out for the \w+ is longer",
        ),
        (["--support", "4"], "--support 4: the fixed query starts after 3 interactions"),
        (["--support", "0"], "no whole number from 1 up"),
        (["--support", "2,2"], "names a number twice"),
        (["--query", "later"], "later is no query"),
        (["--models", "magic"], "no contender is called 'magic'"),
        (["--data.splits.name", "leave_last_out"], "data.splits.name is leave_last_out"),
        (["--data.seed", "1"], "trained on another training part"),
        (["--data.min_users", "12", "--data.catalogue_items", "interacted"], "trained on another catalogue"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line_before_anything_is_fitted(
    trained, tmp_path, capsys, monkeypatch, flags, message
):
    monkeypatch.setattr("recall_lightning.coldstart.experiment.run", lambda *_: pytest.fail("the experiment started"))
    with pytest.raises(SystemExit) as ended:
        adapt(trained, tmp_path / "out", *FEW, *[flag.format(base=trained.base, meta=trained.meta) for flag in flags])
    assert ended.value.code == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert re.search(message, told)
    assert not (tmp_path / "out").exists()
