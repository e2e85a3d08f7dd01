"""The service: it answers as a Recommender does, and new items are there at once."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import client_of
from prometheus_client.parser import text_string_to_metric_families

from recall_lightning import Recommender

ITEMS = ["heat", "alien", "brazil", "fargo", "007"]
HISTORIES = [list(some) for n in (1, 2, 3) for some in itertools.permutations(ITEMS, n)]  # 85 of them


def ask(client, history, **options):
    answer = client.post("/recommend", json={"users": [{"user_id": "zoe", "history": history}], **options})
    assert answer.status_code == 200, answer.text
    (user,) = answer.json()["users"]
    return user


def ids(user):
    return [item["item_id"] for item in user["items"]]


def samples(client):
    """Prometheus' samples by name and labels."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {(s.name, *sorted(s.labels.values())): s.value for family in families for s in family.samples}


def test_users_get_what_the_recommender_gives_in_the_order_asked(client, recommender):
    users = [("zoe", ["alien", "heat"]), ("yan", ["007"]), ("zoe's sister", ["ghost", "brazil"]), ("new", [])]
    body = {"users": [{"user_id": user, "history": history} for user, history in users], "k": 3}
    answer = client.post("/recommend", json=body).json()["users"]
    found = recommender.recommend(dict(users), k=3)
    assert [user["user_id"] for user in answer] == [user for user, _ in users]
    for user in answer:
        assert [(item["item_id"], item["score"]) for item in user["items"]] == found.of(user["user_id"])
    assert answer[0]["items"][0]["title"] == recommender.pool.titles[recommender.pool.row(ids(answer[0])[0])]
    assert [(user["unknown_items"], user["by_popularity"]) for user in answer] == [
        (0, False), (0, False), (1, False), (0, True)
    ]  # fmt: skip


@pytest.mark.parametrize("options", [
    {"k": 1}, {"include_known": True}, {"candidates": ["heat", "fargo", "ghost"]}, {"threshold": 0.5},
    {"threshold": "auto"}, {"threshold": None, "candidates": None},
])  # fmt: skip
def test_options_are_the_recommenders(client, recommender, options):
    expected = recommender.recommend({"zoe": ["alien"]}, **options).of("zoe")
    assert [(item["item_id"], item["score"]) for item in ask(client, ["alien"], **options)["items"]] == expected


def test_a_meta_trained_checkpoint_adapts_to_users(meta_checkpoint):
    recommender = Recommender.from_checkpoint(meta_checkpoint, device="cpu")
    adapted = recommender.recommend({"zoe": ["alien", "heat"]}, adapt=True).of("zoe")
    with client_of(recommender) as client:
        assert client.get("/health").json()["adapts"] is True
        found = ask(client, ["alien", "heat"], adapt=True)
        assert [(item["item_id"], item["score"]) for item in found["items"]] == adapted
        assert found != ask(client, ["alien", "heat"])


def test_requests_that_come_together_are_ranked_together_and_answered_as_if_alone(recommender):
    options = [{"k": 2}, {"k": 9}, {"include_known": True}, {"candidates": ["heat", "fargo", "alien"]}]
    asked = [(history, options[n % 4]) for n, history in enumerate(HISTORIES)]
    alone = [recommender.recommend({"zoe": history}, **given).of("zoe") for history, given in asked]
    with client_of(recommender, wait_s=0.5, users_at_once=16) as client, ThreadPoolExecutor(len(asked)) as threads:
        answers = list(threads.map(lambda one: ask(client, one[0], **one[1]), asked))
        counted = samples(client)
    for answer, expected in zip(answers, alone, strict=True):
        assert ids(answer) == [item for item, _ in expected]
        scores = [item["score"] for item in answer["items"]]
        assert scores == pytest.approx([score for _, score in expected], abs=1e-6)
    assert counted["recall_users_total",] == counted["recall_batch_users_sum",] == 85
    assert counted["recall_batch_users_count",] < 85 / 4
    assert counted["recall_batch_users_bucket", "16.0"] == counted["recall_batch_users_count",]


def test_similar_items_to_an_item_and_to_a_text(client, recommender):
    for asked in ({"item": "heat"}, {"text": "a heist goes wrong"}):
        body = {"item_id" if name == "item" else name: value for name, value in asked.items()}
        found = client.post("/similar", json={**body, "k": 3}).json()["items"]
        assert [tuple(item.values()) for item in found] == recommender.similar(**asked, k=3)


def test_added_items_are_there_when_the_answer_comes(client):
    items = [
        {"item_id": "heat2", "text": "Heat 2 (2026). Action, Crime"},
        {"item_id": "bio", "fields": {"title": "Biodome", "genres": "Comedy"}},  # the year's part drops
        {"item_id": "heat", "text": "A heist goes wrong", "title": "HEAT"},
        {"item_id": "alien", "fields": {"title": "Alien", "year": "1979", "genres": "Horror, Sci-Fi"}},
    ]
    answer = client.post("/items", json={"items": items})
    assert answer.json() == {"new": 2, "changed": 1, "unchanged": 1, "ranked": 7}
    assert {"heat2", "bio"} <= set(ids(ask(client, ["alien"])))
    assert ask(client, ["heat2"])["unknown_items"] == 0
    nearest = client.post("/similar", json={"text": "Biodome. Comedy", "k": 1}).json()["items"][0]
    assert (nearest["item_id"], nearest["title"]) == ("bio", "Biodome")
    titles = {item["item_id"]: item["title"] for item in ask(client, ["alien"])["items"]}
    assert (titles["heat"], titles["heat2"]) == ("HEAT", "Heat 2 (2026). Action, Crime")
    counted = samples(client)
    assert [counted["recall_items_added_total", outcome] for outcome in ("new", "changed", "unchanged")] == [2, 1, 1]
    assert counted["recall_items_ranked",] == 7


def test_items_that_are_added_together_are_seen_together(client):
    """Pairs are added while others ask for everything: whoever sees one of a pair sees the other."""
    pairs = [[f"a{n}", f"b{n}"] for n in range(12)]
    with ThreadPoolExecutor(4) as threads:
        seen = [threads.submit(lambda: [set(ids(ask(client, ["alien"]))) for _ in range(25)]) for _ in range(3)]
        for pair in pairs:
            answer = client.post("/items", json={"items": [{"item_id": item, "text": f"film {item}"} for item in pair]})
            assert answer.json()["new"] == 2
            assert set(pair) <= set(ids(ask(client, ["alien"])))
        lists = [found for future in seen for found in future.result()]
    assert all(len(found & set(pair)) in (0, 2) for found in lists for pair in pairs)
    assert len(set(map(len, lists))) > 1  # some asked before, some after


def test_a_service_for_reading_takes_no_items(recommender):
    with client_of(recommender, read_only=True) as client:
        answer = client.post("/items", json={"items": [{"item_id": "heat2", "text": "Heat 2"}]})
        assert (answer.status_code, answer.json()["errors"][0]["what"]) == (403, "the service is read-only")
        assert client.get("/health").json()["ranked"] == 5


def test_health_tells_what_is_served_and_the_limits(client, recommender):
    health = client.get("/health").json()
    assert health.pop("limits")["k"] == 1000
    assert health == {
        "status": "ok", "checkpoint": "model.ckpt", "ranked": 5, "adapts": False,
        "template": "{title} ({year}). {genres}", "alpha": recommender.module.threshold.point.alpha,
    }  # fmt: skip


def test_metrics_count_requests_by_path_and_status_and_paths_that_are_not_served_as_one(client):
    ask(client, ["alien"])
    for path in ("/recommend", "/nothing", "/else"):
        client.post(path, content="{")
    counted = samples(client)
    assert counted["recall_requests_total", "/recommend", "200"] == 1
    assert counted["recall_requests_total", "/recommend", "415"] == 1
    assert counted["recall_requests_total", "404", "other"] == 2
    assert counted["recall_request_seconds_count", "/recommend"] == 2
    assert counted["process_resident_memory_bytes",] > 1e6
    assert counted["recall_requests_inside",] == 1  # the one that asks


def test_what_the_service_takes_is_described(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/recommend", "/similar", "/items", "/health", "/metrics"}
    assert client.get("/docs").status_code == 200
