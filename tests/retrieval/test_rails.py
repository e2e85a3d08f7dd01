"""Rails: what may be recommended, how often, and how unlike one another."""

from collections import Counter

import pytest
import torch
from exports import trained

from recall_lightning import InputError, MeanTower, Recommender
from recall_lightning.retrieval.attributes import Attributes
from recall_lightning.retrieval.rails import Rails

HISTORIES = {"zoe": ["alien"], "yan": ["007", "heat"], "new": []}
GENRES = {
    "heat": ["Action", "Crime"], "alien": ["Horror", "Sci-Fi"], "brazil": ["Comedy", "Sci-Fi"],
    "fargo": ["Crime", "Thriller"], "007": ["Action"],
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(write_typed, tmp_path_factory):
    return write_typed(tmp_path_factory.mktemp("rails"))


@pytest.fixture(scope="module")
def recommender(folder, tiny_encoder):
    return Recommender.from_checkpoint(trained(folder, tiny_encoder, MeanTower(), prior=True), device="cpu")


@pytest.fixture(scope="module")
def attributes(folder):
    return Attributes.read(folder / "items.csv", ",")


def lists(recommender, rails=None, k=9, **more):
    found = recommender.recommend(HISTORIES, k=k, rails=rails, **more)
    return {user: [item for item, _ in found.of(user)] for user in HISTORIES}


def without(found, *items):
    return {user: [item for item in row if item not in items] for user, row in found.items()}


def test_without_rails_nothing_changes(recommender):
    assert lists(recommender, Rails()) == lists(recommender)
    assert not Rails()


def test_what_is_blocked_by_id_or_text_is_recommended_to_nobody_and_the_others_move_up(recommender):
    free = lists(recommender)
    assert lists(recommender, Rails(blocked=["heat", "nowhere"])) == without(free, "heat")
    assert lists(recommender, Rails(patterns=["Sci-Fi", "^From"])) == without(free, "alien", "brazil", "007")
    assert lists(recommender, Rails(patterns=["sci-fi"])) == free  # (?i) is for those who mean it
    short = lists(recommender, Rails(blocked=["heat"]), k=2)
    assert short == {user: row[:2] for user, row in without(free, "heat").items()}
    assert recommender.guard(Rails(blocked=["heat", "nowhere"])).unknown == ["nowhere"]


def test_only_items_of_a_value_are_recommended(recommender, attributes):
    free = lists(recommender)
    one = Rails(where={"genres": ["Crime"]}, attributes=attributes)
    assert lists(recommender, one) == without(free, "alien", "brazil", "007")
    either = Rails(where={"genres": ["Crime", "Comedy"]}, attributes=attributes)
    assert lists(recommender, either) == without(free, "alien", "007")
    both = Rails(where={"genres": ["Crime"], "year": ["1995"]}, attributes=attributes)
    assert lists(recommender, both) == without(free, "alien", "brazil", "007", "fargo")
    assert lists(recommender, one, candidates=["fargo", "007"])["zoe"] == ["fargo"]


def test_a_list_holds_no_more_of_a_value_than_its_quota(recommender, attributes):
    found = lists(recommender, Rails(quotas={"genres": 1}, attributes=attributes))
    for user, free in lists(recommender).items():
        slow, counts = [], Counter()
        for item in free:
            if not any(counts[genre] for genre in GENRES[item]):
                slow.append(item)
                counts.update(GENRES[item])
        assert found[user] == slow


def test_a_quota_looks_down_the_whole_ranking(recommender, attributes, monkeypatch):
    expected = lists(recommender, Rails(quotas={"genres": 1}, attributes=attributes), k=3)
    monkeypatch.setattr("recall_lightning.retrieval.rails.POOL", 1)
    assert lists(recommender, Rails(quotas={"genres": 1}, attributes=attributes), k=3) == expected


def test_a_ranking_of_all_items_that_is_not_as_deep_as_asked_for_is_not_asked_for_again(recommender, attributes):
    guard = recommender.guard(Rails(quotas={"year": 1}, attributes=attributes))
    asked = []

    def ranked(depth):
        asked.append(depth)
        return torch.arange(5.0, 0, -1)[None], torch.arange(5)[None]

    assert guard.lists(ranked, 9)[1].tolist() == [[0, 1, 2, 3, 4, -1, -1, -1, -1]]
    assert len(asked) == 1


def test_scores_descend_and_lists_are_as_long_as_candidates_allow(recommender, attributes):
    for rails in (
        Rails(mmr=0.5), Rails(popularity_penalty=0.5), Rails(mmr=0.3, quotas={"genres": 2}, attributes=attributes)
    ):  # fmt: skip
        found = recommender.recommend(HISTORIES, k=3, rails=rails)
        for user in HISTORIES:
            scores = [score for _, score in found.of(user)]
            assert (len(scores), scores) == (3, sorted(scores, reverse=True))
            assert not {item for item, _ in found.of(user)} & set(HISTORIES[user])


def test_diversity_alone_starts_with_the_best_item_and_a_weight_of_1_is_the_models_list(recommender):
    free = lists(recommender)
    assert lists(recommender, Rails(mmr=1.0)) == free
    assert {user: row[0] for user, row in lists(recommender, Rails(mmr=0.5)).items()} == {
        u: r[0] for u, r in free.items()
    }


def test_the_penalty_is_taken_off_scores_but_for_users_who_have_none(recommender):
    before, after = (
        recommender.recommend(HISTORIES, k=9, rails=rails) for rails in (None, Rails(popularity_penalty=2))
    )
    temperature = float(recommender.module.loss.temperature)
    counts = {"heat": 2, "alien": 2, "007": 1}  # in training
    for user in ("zoe", "yan"):
        for item, score in after.of(user):
            penalty = 2 * temperature * torch.tensor(1.0 + counts.get(item, 0)).log()
            assert score == pytest.approx(dict(before.of(user))[item] - float(penalty), abs=1e-6)
    assert after.of("new") == before.of("new")


def test_a_threshold_is_held_against_the_models_own_scores(recommender):
    alpha = recommender.recommend(HISTORIES, k=2).of("zoe")[1][1]
    assert len(lists(recommender, Rails(mmr=0.1), threshold=alpha)["zoe"]) == 2


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda a: Rails(patterns=["("]), r"block text: '\(' is no regular expression"),
        (lambda a: Rails(quotas={"genres": 0}, attributes=a), "quota: genres=0, .* give 1 or more"),
        (lambda a: Rails(mmr=1.5), r"mmr is 1\.5: give a weight of the score from 0"),
        (lambda a: Rails(popularity_penalty=-1), "popularity penalty is -1: give 0"),
        (lambda a: Rails(quotas={"genres": 2}), "'genres': there is no table to look it up in"),
        (lambda a: Rails(where={"genres": ["Crimes"]}, attributes=a), r"no item has genres 'Crimes'.*: Crime, "),
        (lambda a: Rails(where={"genre": ["Crime"]}, attributes=a), r"items\.csv, row 1: no column 'genre'"),
        (lambda a: Attributes.read(a.path, ""), "separator is empty"),
    ],
)
def test_what_can_not_be_meant_is_told(attributes, make, told):
    with pytest.raises(InputError, match=told):
        make(attributes)


def test_rails_that_leave_nothing_are_told(recommender, attributes):
    with pytest.raises(InputError, match="block list of 1: of 5 items none is left"):
        recommender.guard(Rails(patterns=["."]))
    with pytest.raises(InputError, match="of 2 candidates the filters and block lists leave none"):
        lists(recommender, Rails(blocked=["heat", "007"]), candidates=["heat", "007"])
    with pytest.raises(InputError, match=r"no column 'brand'"):
        recommender.guard(Rails(quotas={"brand": 2}, attributes=attributes))
