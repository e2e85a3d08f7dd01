"""The experiment's figures and tables, of ranks typed by hand."""

from types import SimpleNamespace

import pytest
import torch

from recall_lightning.coldstart.answers import ADAPTED, BASE, CONTROL, START, Answer, Asked
from recall_lightning.coldstart.experiment import RATES, Outcome
from recall_lightning.coldstart.report import figures
from recall_lightning.coldstart.tables import notes, over_best, tables
from recall_lightning.metrics import recall_at_k


def asked(query="next", support=2):
    """Four users with one target each; a hit at 10 is a rank below 10."""

    def answer(model, role, step, *ranks, diverged=0):
        return Answer(model, role, step, torch.tensor(ranks)[:, None], diverged)

    answers = [
        answer("popularity", "baseline", None, 0, 20, 20, 20),  # 1 of 4
        answer("EASE", "baseline", None, 0, 20, 20, 3),  # 2 of 4
        answer(BASE, "base", None, 20, 20, 20, 20),
        answer(CONTROL, "control", 0, 20, 20, 20, 20),
        answer(CONTROL, "control", 1, 9, 20, 20, 20),
        answer(START, "start", None, 20, 0, 20, 20),
        answer(ADAPTED, "adapted", 0, 20, 0, 20, 20, diverged=1),
        answer(ADAPTED, "adapted", 1, 1, 0, 5, 20, diverged=1),  # 3 of 4
    ]
    return Asked(SimpleNamespace(query=query, support=support), answers)


@pytest.fixture
def found():
    """Recall by model and step."""
    return {(f.model, f.step): f for f in figures([asked()], 10) if f.metric == "recall@10"}


def test_a_figure_is_the_mean_over_users_with_an_interval_around_it(found):
    assert {key: figure.value for key, figure in found.items()} == {
        ("popularity", None): 0.25, ("EASE", None): 0.5, (BASE, None): 0.0, (CONTROL, 0): 0.0, (CONTROL, 1): 0.25,
        (START, None): 0.25, (ADAPTED, 0): 0.25, (ADAPTED, 1): 0.75,
    }  # fmt: skip
    assert found[ADAPTED, 1].low < 0.75 < found[ADAPTED, 1].high
    assert found[ADAPTED, 1].n_users == 4


def test_differences_are_the_adapted_model_minus_the_other_over_the_same_users(found):
    assert found["EASE", None].difference == 0.25
    assert found[CONTROL, 1].difference == 0.5
    assert found[CONTROL, 1].difference_low < 0.5 < found[CONTROL, 1].difference_high
    assert found[ADAPTED, 1].difference is None
    # nobody whom the control reached is lost, so no resampling can turn the difference around
    assert found[CONTROL, 1].difference_low >= 0
    # against popularity it is the same users' one hit, and two more
    assert found["popularity", None].difference_low >= 0


def test_each_is_told_beside_the_best_baseline_over_the_same_users(found):
    adapted = found[ADAPTED, 1]
    assert (adapted.over_best, adapted.over_best_low, adapted.over_best_high) == pytest.approx(
        (0.25, found["EASE", None].difference_low, found["EASE", None].difference_high)
    )
    assert found[BASE, None].over_best == -0.5
    assert found["EASE", None].over_best is None


def test_of_equal_baselines_the_first_is_the_best_whatever_float32_makes_of_fifths():
    def hits(*numbers):
        """So many of five targets among the first ten, user by user."""
        return torch.tensor([[rank if rank < n else 20 + rank for rank in range(5)] for n in numbers])

    recalls = [float(recall_at_k(hits(*of), 10).mean()) for of in ((0, 4, 5), (3, 3, 3))]
    assert recalls[0] <= recalls[1] == pytest.approx(recalls[0])  # and by rounding alone, where there is any
    answers = [Answer(f"of {of}", "baseline", None, hits(*of)) for of in ((0, 4, 5), (3, 3, 3))]
    found = figures([Asked(asked().protocol, [*answers, Answer(ADAPTED, "adapted", 0, hits(5, 5, 5))])], 10)
    assert {figure.model for figure in found if figure.role == "best baseline"} == {"of (0, 4, 5)"}


def figure_of(low, high):
    return SimpleNamespace(
        support=1, model=ADAPTED, role="adapted", over_best=0.1, over_best_low=low, over_best_high=high
    )


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.05, 0.2, "better"), (-0.2, -0.05, "worse"), (-0.1, 0.3, "can't be told apart"),
        (0.0, 0.2, "can't be told apart"), (None, None, "can't be told apart"),
        (3e-9, 0.2, "can't be told apart"), (-0.2, -3e-9, "can't be told apart"),  # rounding, not evidence
    ],
)  # fmt: skip
def test_a_verdict_needs_an_interval_that_leaves_out_nothing_gained(low, high, verdict):
    baseline = SimpleNamespace(support=1, model="EASE", role="best baseline", over_best=None)
    _, (row,) = over_best([baseline, figure_of(low, high)])
    assert row[:3] == ["1", ADAPTED, "EASE"]
    assert row[-1] == verdict


def test_without_baselines_there_is_no_best_one():
    learned = asked()
    learned.answers[:] = [answer for answer in learned.answers if answer.role != "baseline"]
    without = figures([learned], 10)
    assert {figure.over_best for figure in without} == {None}
    assert not [title for title, _, _ in tables(without, 10) if "best baseline" in title]


def test_users_who_all_fare_alike_give_no_interval(found):
    assert (found[BASE, None].low, found[BASE, None].high) == (None, None)


def test_the_best_baseline_is_the_one_of_the_highest_recall_on_the_cases_shown(found):
    assert [figure.model for figure in found.values() if figure.role == "best baseline"] == ["EASE"]


def test_tables_hold_a_row_a_model_after_its_last_step(found):
    shown = list(tables(figures([asked("next", 1), asked("next", 2), asked("fixed", 2)], 10), 10))
    assert [title.partition(" (")[0] for title, _, _ in shown[::4]] == ["query next", "query fixed"]
    _, header, rows = shown[0]
    assert header == ["model", "k=1 (4)", "k=2 (4)"]
    assert [row[:2] for row in rows] == [
        ["popularity", "0.2500"], ["EASE", "0.5000"], [BASE, "0.0000"], [CONTROL, "0.2500"], [START, "0.2500"],
        [ADAPTED, "0.7500"],
    ]  # fmt: skip
    _, _, rows = shown[1]
    assert [row[:3] for row in rows] == [
        [k, *row] for k in "12" for row in ([START, "+0.5000"], [CONTROL, "+0.5000"], [BASE, "+0.7500"])
    ]
    _, header, rows = shown[2]
    assert header[:4] == ["k", "model", "minus", "difference"]
    assert [row[:4] for row in rows[:4]] == [
        ["1", BASE, "EASE", "-0.5000"], ["1", CONTROL, "EASE", "-0.2500"], ["1", START, "EASE", "-0.2500"],
        ["1", ADAPTED, "EASE", "+0.2500"],
    ]  # fmt: skip
    _, header, rows = shown[3]
    assert header == ["model", "k", "step 0", "step 1"]
    assert [ADAPTED, "1", "0.2500", "0.7500"] in rows


def test_notes_tell_the_step_size_who_diverged_and_who_is_missing():
    outcome = Outcome(rates={"next": dict.fromkeys(RATES, 0.1) | {RATES[-1]: 0.3}}, left_out={"EASE": "needs 9 GiB"})
    told = "\n".join(notes(outcome, figures([asked()], 10), 10, "test"))
    assert "base, fine-tuned, query next: step size 1000 of 11 from 0.01 to 1000: the end of the grid" in told
    assert "MAML, adapted, query next, k=2: the inner loop diverged for 1 of 4 users" in told
    assert "EASE is left out: needs 9 GiB" in told
    assert "give" not in told.lower()
    assert "--base" in "\n".join(notes(Outcome(), [], 10, "test"))
