"""Fused: a checkpoint and a baseline as one contender, and as one ranking for anyone."""

import itertools
import logging
import statistics
from dataclasses import replace

import pytest
import torch

from recall_lightning import InputError, ItemTower, MeanTower, RecallModule, Recommender
from recall_lightning.baselines.base import UnavailableError
from recall_lightning.baselines.cache import Cache
from recall_lightning.baselines.evaluate import rank_cases, recall_of, recalls_by
from recall_lightning.baselines.fused import WEIGHTS, Fused, serving
from recall_lightning.baselines.markov import MarkovChain
from recall_lightning.baselines.run import run
from recall_lightning.baselines.text_profile import TfIdfProfile
from recall_lightning.baselines.trained import Trained
from recall_lightning.baselines.tuning import Search, tune
from recall_lightning.data.batches import EvalBatch
from recall_lightning.modules.encoder_config import EncoderConfig


@pytest.fixture
def trained(typed_data, tiny_encoder, fit_once):
    module = RecallModule(EncoderConfig(str(tiny_encoder)), MeanTower(), ItemTower(), ks=[2])
    return Trained(fit_once(module, typed_data)[1])


def test_of_no_weight_it_ranks_as_the_model_alone_does(trained, typed_data):
    fused = Fused(trained, MarkovChain())
    fused.fit(typed_data.split.train, typed_data)
    fused.settings["way and weight"] = ("score", 0.0)
    assert rank_cases(fused, typed_data.split.test, typed_data).ranks.equal(
        rank_cases(trained, typed_data.split.test, typed_data).ranks
    )


@pytest.mark.parametrize("way", ["score", "rank"])
def test_of_a_huge_weight_it_ranks_as_the_baseline_alone_does(trained, typed_data, way):
    fused = Fused(trained, MarkovChain())
    fused.fit(typed_data.split.train, typed_data)
    fused.settings["way and weight"] = (way, 1e9)
    ranks = rank_cases(fused, typed_data.split.test, typed_data).ranks
    assert ranks.equal(rank_cases(fused.channel, typed_data.split.test, typed_data).ranks)


def test_tuned_it_recalls_no_less_on_validation_than_the_model_alone(trained, typed_data):
    fused = Fused(trained, MarkovChain())
    recall = tune(fused, typed_data, k=2).recall
    trained.fit(typed_data.split.train, typed_data)
    assert recall >= recall_of(rank_cases(trained, typed_data.split.validation, typed_data), 2)
    assert recall == recall_of(rank_cases(fused, typed_data.split.validation, typed_data), 2)
    assert fused.settings["of the baseline"] == fused.channel.settings


def test_weights_judged_in_one_pass_are_judged_as_one_after_the_other(trained, typed_data):
    fused = Fused(trained, MarkovChain())
    fused.fit(typed_data.split.train, typed_data)
    (name, values), parts = *fused.score_grid.items(), (typed_data.split.validation, typed_data.split.test)
    seen = set()
    for cases, k in itertools.product(parts, [1, 2, 3]):
        one_by_one = []
        for value in values:
            fused.settings[name] = value
            one_by_one.append(recall_of(rank_cases(fused, cases, typed_data), k))
        assert recalls_by(fused, cases, typed_data, name, values, k=k) == one_by_one
        seen.add(tuple(one_by_one))
    assert any(len(set(recalls)) > 1 for recalls in seen)


def test_one_pass_scores_nobody_twice(trained, typed_data, monkeypatch):
    fused, scored = Fused(trained, MarkovChain()), []
    fused.fit(typed_data.split.train, typed_data)
    score = fused.channel.score
    monkeypatch.setattr(fused.channel, "score", lambda batch: (scored.extend(batch.users.tolist()), score(batch))[1])
    search = Search(fused, typed_data, [(typed_data.splits, typed_data.split.validation)], k=2)
    monkeypatch.setattr(fused, "fit", lambda *_: None)
    search.best()
    assert sorted(scored) == sorted(typed_data.split.validation.users.tolist())


def test_a_baseline_in_the_cache_is_not_tuned_again(trained, typed_data, tmp_path, monkeypatch):
    cache = Cache(tmp_path, "data", "test")
    tuned = MarkovChain()
    run(tuned, typed_data, {"test": typed_data.split.test}, cache)
    expected = Fused(trained, MarkovChain())
    expected.fit(typed_data.split.train, typed_data)
    monkeypatch.setattr("recall_lightning.baselines.fused.tune", lambda *_: pytest.fail("tuned anew"))
    fused = Fused(trained, MarkovChain(), cache)
    fused.fit(typed_data.split.train, typed_data)
    assert fused.settings["of the baseline"] == tuned.settings == expected.settings["of the baseline"]
    fused.settings["way and weight"] = expected.settings["way and weight"] = ("rank", 0.5)
    ranks = [rank_cases(each, typed_data.split.test, typed_data).ranks for each in (fused, expected)]
    assert ranks[0].equal(ranks[1])


def test_every_weight_is_tried_by_scores_and_by_ranks(trained, typed_data):
    search = Search(Fused(trained, MarkovChain()), typed_data, [(typed_data.splits, typed_data.split.validation)], k=2)
    search.best()
    assert {key[0] for key in search.seen} == {(way, weight) for way in ("score", "rank") for weight in WEIGHTS}


def test_it_answers_about_new_items_where_its_baseline_can(trained):
    assert not Fused(trained, MarkovChain()).serves_new_items
    assert Fused(trained, TfIdfProfile()).serves_new_items


def test_what_tells_it_from_others_is_the_checkpoint_and_the_baseline(trained):
    told = [Fused(trained, channel).identity for channel in (MarkovChain(), TfIdfProfile())]
    assert told[0] != told[1]
    assert told[0]["checkpoint"] == trained.identity["checkpoint"]


# -- recommending ------------------------------------------------------------------------------------------------------

ITEMS = ["heat", "alien", "brazil", "fargo", "007"]
HISTORIES = {f"{a} {b}": [a, b] for a, b in itertools.permutations(ITEMS, 2)}
WAYS_AND_WEIGHTS = [("score", 0.1), ("score", 1.0), ("rank", 0.1), ("rank", 1.0)]


@pytest.fixture
def fused(trained):
    return Fused(trained, MarkovChain())


@pytest.fixture
def recommend(fused, typed_data):
    """Lists of `(item, score)` by user, by a way and a weight of the test's choice; without any, by the model alone."""
    fusing = replace(serving(fused, typed_data), users_at_once=3)
    recommender = Recommender.from_checkpoint(fused.model.path, device="cpu")

    def lists(histories, way=None, weight=None, **options):
        chosen = replace(fusing, way=way, weight=weight) if way else None
        tables = recommender.stream(recommender.prepare(histories), fusing=chosen, **{"k": 9} | options)
        rows = [row for table in tables for row in table.to_pylist()]
        found = {user: [row for row in rows if row["user_id"] == user] for user in histories}
        for of_user in found.values():
            assert [row["rank"] for row in of_user] == [*range(1, len(of_user) + 1)]
        return {user: [(row["item_id"], row["score"]) for row in of_user] for user, of_user in found.items()}

    return lists


def slow_list(fused, catalogue, history, way, weight, candidates):
    """Full scores of both channels, each put on one scale, added and sorted."""
    rows = torch.tensor([[catalogue.row(item) for item in history]])
    total = dict.fromkeys(candidates, 0.0)
    for contender, counts_for in [(fused.model, 1.0), (fused.channel, weight)]:
        (scores,) = contender.score(EvalBatch(torch.tensor([-1]), rows, rows[:, :0], rows[:, :0])).tolist()
        of = {item: scores[catalogue.row(item)] for item in candidates}
        mean, deviation = statistics.mean(of.values()), statistics.pstdev(of.values()) or 1.0
        for item, score in of.items():
            above, alike = sum(s > score for s in of.values()), sum(s == score for s in of.values())
            normal = (score - mean) / deviation if way == "score" else 1 / (60 + above + (alike + 1) / 2)
            total[item] += counts_for * normal
    return sorted(total.items(), key=lambda one: (-one[1], catalogue.row(one[0])))


@pytest.mark.parametrize("include_known", [False, True])
@pytest.mark.parametrize(("way", "weight"), WAYS_AND_WEIGHTS)
def test_what_is_recommended_is_the_sorted_sum_of_both(fused, typed_data, recommend, way, weight, include_known):
    found = recommend(HISTORIES, way, weight, include_known=include_known)
    for user, history in HISTORIES.items():
        candidates = [item for item in ITEMS if include_known or item not in history]
        expected = slow_list(fused, typed_data.catalogue, history, way, weight, candidates)
        assert [item for item, _ in found[user]] == [item for item, _ in expected]
        # cosines of an untrained encoder lie some .003 apart, and of float32 that leaves three digits on any processor
        assert [score for _, score in found[user]] == pytest.approx([score for _, score in expected], abs=1e-3)
    assert recommend(HISTORIES, way, weight, include_known=include_known, k=2) == {u: f[:2] for u, f in found.items()}


@pytest.mark.parametrize("way", ["score", "rank"])
def test_a_baseline_of_no_weight_leaves_every_list_as_it_is(recommend, way):
    items = [{user: [i for i, _ in of] for user, of in found.items()} for found in (
        recommend(HISTORIES), recommend(HISTORIES, way, 0.0), recommend(HISTORIES, way, 1.0)
    )]  # fmt: skip
    assert items[0] == items[1] != items[2]


@pytest.mark.parametrize(("way", "weight"), WAYS_AND_WEIGHTS)
def test_candidates_keep_the_scores_that_they_have_among_all_items(recommend, way, weight):
    every = recommend(HISTORIES, way, weight)
    found = recommend(HISTORIES, way, weight, candidates=["fargo", "alien", "ghost"])
    assert found == {user: [one for one in of if one[0] in {"fargo", "alien"}] for user, of in every.items()}


def test_who_has_no_history_gets_what_the_model_alone_gives_and_changes_nothing_for_others(recommend):
    histories = {"new": [], "zoe": ["heat", "alien"], "yan": ["ghost"], "xia": ["007"]}
    found, alone = recommend(histories, "score", 0.5), recommend(histories)
    assert (found["new"], found["yan"]) == (alone["new"], alone["yan"])
    without = recommend({"zoe": ["heat", "alien"]}, "score", 0.5)["zoe"]
    assert [item for item, _ in found["zoe"]] == [item for item, _ in without]
    assert dict(found["zoe"]) == pytest.approx(dict(without), abs=1e-3)
    assert found["zoe"] != alone["zoe"]


def test_a_baseline_gets_whole_histories_and_is_told_who_is_of_the_training(fused, typed_data, recommend, monkeypatch):
    batches, score = [], fused.channel.score
    monkeypatch.setattr(fused.channel, "score", lambda batch: (batches.append(batch), score(batch))[1])
    recommend({"zoe": ["heat"], "bob": ITEMS, "new": [], "ann": ["007", "alien"]}, "score", 0.5)
    row_of, users = typed_data.catalogue.row, typed_data.split.train.user_ids
    assert [batch.users.tolist() for batch in batches] == [[-1, users.index("bob"), -1], [users.index("ann")]]
    assert batches[0].history.tolist() == [[-1] * 4 + [row_of("heat")], [row_of(item) for item in ITEMS], [-1] * 5]
    assert batches[1].history.tolist() == [[row_of("007"), row_of("alien")]]


def test_way_and_weight_are_those_of_a_comparison_and_told_with_what_they_gain(fused, typed_data, caplog):
    with caplog.at_level(logging.INFO, "recall_lightning"):
        fusing = serving(fused, typed_data)
    compared = Fused(fused.model, MarkovChain())
    tuned = tune(compared, typed_data)
    assert (fusing.way, fusing.weight) == compared.settings["way and weight"] == fused.settings["way and weight"]
    fused.model.fit(typed_data.split.train, typed_data)
    alone = recall_of(rank_cases(fused.model, typed_data.split.validation, typed_data), 10)
    assert caplog.messages[-1] == (
        f"fused with Markov chain by {fusing.way}, weight {fusing.weight:g}: validation recall@10 {tuned.recall:.4f}, "
        f"without {alone:.4f}"
    )


def test_a_baseline_that_cannot_take_part_says_why(fused, typed_data, monkeypatch):
    def fit(*_):
        raise UnavailableError("needs scipy")

    monkeypatch.setattr(fused.channel, "fit", fit)
    with pytest.raises(InputError, match=r"fusing: Markov chain needs scipy\. Take another baseline"):
        serving(fused, typed_data)


def test_without_a_validation_case_there_is_no_weight_to_choose(fused, typed_data, monkeypatch):
    whole = typed_data.split.validation
    none = replace(whole, **{name: getattr(whole, name)[:0] for name in ("users", "history", "targets", "known")})
    monkeypatch.setattr(typed_data, "split", replace(typed_data.split, validation=none))
    with pytest.raises(InputError, match=r"fusing: leave_last_out gives no validation case .* Recommend by the model"):
        serving(fused, typed_data)
