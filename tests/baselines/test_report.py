"""A comparison's figures: what each number is the mean of."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from recall_lightning.baselines.cache import Result
from recall_lightning.baselines.evaluate import Rankings
from recall_lightning.baselines.outputs import (
    beyond_table,
    cost_table,
    group_table,
    main_table,
    markdown,
    write_chart,
    write_csv,
    write_markdown,
)
from recall_lightning.baselines.report import Known, figures
from recall_lightning.data.interactions import Interactions
from recall_lightning.data.splits import Cases

# three users; items 0 to 4; the last one of each is asked for
ITEMS = np.array([0, 1, 4, 0, 2, 1, 0, 2, 3, 4, 1, 2])
USERS = ["ann", "bob", "cid"]
OFFSETS = np.array([0, 3, 5, 12])
COUNTS = torch.tensor([6, 3, 2, 1, 0])  # head: 0; middle: 1; tail: 2, 3, 4


def cases(among=None):
    start, stop = OFFSETS[:-1], OFFSETS[1:]
    history = np.stack([start, stop - 1], 1)
    made = Interactions(USERS, ITEMS, None, OFFSETS)
    return Cases(made, np.arange(3), history, np.stack([stop - 1, stop], 1), known=history, among=among)


def result(ranks, lists, among=None):
    made = Rankings(
        torch.tensor(ranks)[:, None], torch.tensor(lists), None if among is None else torch.tensor(among)[:, None]
    )
    return Result({"test": made}, {"last": 5}, 0.25, 1.5, 9.0, 2**20)


GOOD = result([0, 1, 7], [[4, 3], [3, 2], [0, 1]])
POOR = result([2, 1, 9], [[3, 2], [0, 2], [0, 1]])
KNOWN = Known(COUNTS, 3, torch.eye(5), {"gender": ["f", "m", "m"]})


@pytest.fixture
def found():
    return list(figures({"good": GOOD, "poor": POOR}, {"test": cases()}, KNOWN, [2, 1], ["good", "poor"]))


def value(found, model, metric, group="all"):
    (figure,) = [f for f in found if (f.model, f.metric, f.group) == (model, metric, group)]
    return figure


def test_recall_is_the_mean_over_users_and_compared_with_the_best_baseline(found):
    assert value(found, "good", "recall@2").value == pytest.approx(2 / 3)
    assert value(found, "poor", "recall@2").value == pytest.approx(1 / 3)
    assert value(found, "good", "recall@2").difference == 0
    assert value(found, "poor", "recall@2").difference == pytest.approx(-1 / 3)
    assert value(found, "good", "recall@1").value == pytest.approx(1 / 3)


def test_an_interval_contains_its_mean(found):
    for figure in found:
        if figure.low is not None:
            assert figure.low <= figure.value <= figure.high


def test_recall_is_told_by_popularity_of_the_target(found):
    # targets: ann 4 (tail), bob 2 (tail), cid 2 (tail)
    assert value(found, "good", "recall@2 tail").value == pytest.approx(2 / 3)
    assert not [f for f in found if f.metric == "recall@2 head"]


def test_recall_is_told_by_history_and_by_columns_of_users(found):
    assert value(found, "good", "recall@2", "history 1-4").value == 1
    assert value(found, "good", "recall@2", "history 5-9").value == 0
    assert value(found, "good", "recall@2", "gender f").n_users == 1
    assert value(found, "good", "recall@2", "gender m").value == pytest.approx(1 / 2)


def test_a_groups_best_baseline_is_its_own():
    swapped = result([9, 9, 0], [[4, 3], [3, 2], [0, 1]])
    found = list(figures({"good": GOOD, "late": swapped}, {"test": cases()}, KNOWN, [2], ["good", "late"]))
    assert value(found, "good", "recall@2", "history 5-9").difference == -1
    assert value(found, "late", "recall@2", "history 1-4").difference == -1


def test_lists_are_told_by_coverage_popularity_and_diversity(found):
    assert value(found, "good", "coverage@2").value == 1.0
    assert value(found, "poor", "coverage@2").value == pytest.approx(4 / 5)
    assert value(found, "good", "diversity@2").value == pytest.approx(1.0)
    log = torch.log1p(COUNTS.double())
    of_ann = (log[4] + log[3]) / 2 - (log[0] + log[1]) / 2
    of_bob = (log[3] + log[2]) / 2 - log[0]
    of_cid = (log[0] + log[1]) / 2 - log[[1, 0, 2, 3, 4, 1]].mean()
    assert value(found, "good", "popularity_lift@2").value == pytest.approx(
        float(of_ann + of_bob + of_cid) / 3, rel=1e-5
    )
    assert value(found, "good", "coverage@2").low is None


def test_new_items_are_ranked_among_themselves_too():
    made = result([0, 5, 7], [[4, 3], [3, 2], [0, 1]], among=[0, 0, 4])
    found = list(figures({"new": made}, {"test": cases(among=np.ones(5, bool))}, KNOWN, [2], []))
    assert value(found, "new", "recall@2 among new items").value == pytest.approx(2 / 3)
    assert value(found, "new", "recall@2").value == pytest.approx(1 / 3)
    assert value(found, "new", "recall@2").difference is None
    header, rows = main_table(found, "test", 2, 2)
    assert header[-1] == "among new items"
    assert rows[0][-1] == "0.6667"


def test_a_model_that_was_not_asked_has_no_figures():
    found = list(figures({"good": GOOD}, {"test": cases(), "new users": cases()}, KNOWN, [2], ["good"]))
    assert {f.cases for f in found} == {"test"}


def test_the_main_table_is_sorted_and_says_which_baseline_is_best(found):
    header, rows = main_table(found, "test", 2, 1)
    assert header[:2] == ["model", "recall@2"]
    assert [row[:2] for row in rows] == [["good", "0.6667"], ["poor", "0.3333"]]
    assert rows[0][3] == "is the best baseline"
    assert rows[1][3].startswith("-0.3333 (")


def test_group_and_list_tables_have_a_column_a_group(found):
    header, rows = group_table(found, "test", 2)
    assert header == ["model", "tail (3)", "history 1-4 (2)", "history 5-9 (1)", "gender f (1)", "gender m (2)"]
    assert rows[0] == ["good", "0.6667", "1.0000", "0.0000", "1.0000", "0.5000"]
    header, rows = beyond_table(found, "test", 2)
    assert header == ["model", "coverage@2", "gini@2", "popularity_lift@2", "novelty@2", "diversity@2"]
    assert rows[0][1] == "1.000"


def test_a_longer_cut_off_that_begins_with_the_same_digit_is_no_group():
    found = list(figures({"good": GOOD}, {"test": cases()}, KNOWN, [2, 20], ["good"]))
    header, _ = group_table(found, "test", 2)
    assert header == ["model", "tail (3)", "history 1-4 (2)", "history 5-9 (1)", "gender f (1)", "gender m (2)"]


def test_only_one_is_the_best_baseline_and_its_equal_has_a_difference_of_nothing():
    found = list(figures({"tuned": GOOD, "good": GOOD}, {"test": cases()}, KNOWN, [2], ["good"]))
    _, rows = main_table(found, "test", 2, 2)
    assert {row[0]: row[3] for row in rows} == {"good": "is the best baseline", "tuned": "+0.0000 (+0.0000 to +0.0000)"}
    assert value(found, "tuned", "recall@2", "history 1-4").baseline == "good"


def test_the_diversity_of_many_lists_is_that_of_each(monkeypatch, found):
    monkeypatch.setattr("recall_lightning.baselines.report.VECTORS_AT_ONCE", 1)
    again = list(figures({"good": GOOD, "poor": POOR}, {"test": cases()}, KNOWN, [2, 1], ["good", "poor"]))
    assert again == found


def test_costs_are_told_and_who_could_not_take_part():
    header, rows = cost_table({"good": GOOD}, {"bad": ValueError("can't")})
    assert header[0] == "model"
    assert rows == [["good", "1.5", "9", "1", "0.2500", "last 5"], ["bad", "–", "–", "–", "–", "can't"]]


def test_files_hold_what_the_tables_hold(found, tmp_path):
    write_csv(found, tmp_path / "out" / "c.csv")
    lines = (tmp_path / "out" / "c.csv").read_text().splitlines()
    assert lines[0].startswith("cases,group,model,metric,value,low,high,difference")
    assert len(lines) == len(found) + 1
    assert any(line.startswith("test,all,good,recall@2,0.666667,") for line in lines)
    write_markdown([("test", *main_table(found, "test", 2, 1))], tmp_path / "c.md")
    assert "| good | 0.6667 |" in (tmp_path / "c.md").read_text()
    write_chart(found, "test", 2, tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.md", "c.png", "out"]


def test_no_chart_is_drawn_where_nobody_was_ranked(tmp_path):
    write_chart([], "test", 2, tmp_path / "c.png")
    assert list(tmp_path.iterdir()) == []


def test_a_chart_is_drawn_where_rounding_puts_the_mean_outside_of_its_interval(found, tmp_path):
    mean = value(found, "good", "recall@2").value
    nearly = [replace(f, low=mean + 1e-16, high=mean - 1e-16) for f in found if f.value == mean]
    write_chart(nearly, "test", 2, tmp_path / "c.png")
    assert (tmp_path / "c.png").is_file()


def test_a_new_line_in_a_cell_does_not_end_the_row():
    assert markdown(["a\nb"], [["c"]]) == "| a b |\n| --- |\n| c |\n"


def test_a_bar_in_a_cell_does_not_end_it():
    assert markdown(["a|b"], [["c"]]) == "| a\\|b |\n| --- |\n| c |\n"
