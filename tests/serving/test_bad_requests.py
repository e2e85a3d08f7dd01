"""Bad requests: each is told what is wrong, where, and how to mend it, and none fails the service."""

import json

import pytest
from conftest import client_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recall_lightning.serving.limits import Limits

JSON = {"Content-Type": "application/json"}
ZOE = {"user_id": "zoe", "history": ["alien"]}
SMALL = Limits(users=2, k=9, history=3, candidates=2, items=2, id_characters=8, text_characters=20, body_bytes=999,
               waiting=4, catalogue=6)  # fmt: skip


@pytest.fixture(scope="module")
def served(checkpoint):
    from recall_lightning import Recommender

    with client_of(Recommender.from_checkpoint(checkpoint, device="cpu"), limits=SMALL, wait_s=0) as client:
        yield client


def told(answer):
    """`(status, where, what, mend)` of the first problem."""
    error = answer.json()["errors"][0]
    assert list(error) == ["where", "what", "mend"]
    assert all(error.values())
    return answer.status_code, *error.values()


def recommend(**changes):
    return {"users": [ZOE], **changes}


@pytest.mark.parametrize(("path", "body", "status", "where", "what", "mend"), [
    ("recommend", {}, 422, "body.users", "missing", "add it"),
    ("recommend", [], 422, "body", "no object, but a list", "give one, in braces"),
    ("recommend", recommend(users=[]), 422, "body.users", "an empty list", "give one or more"),
    ("recommend", recommend(users=[{"user_id": "zoe"}]), 422, "body.users[0].history", "missing", "add it"),
    ("recommend", recommend(users=[{**ZOE, "history": [7]}]), 422, "body.users[0].history[0]",
     "no string, but a number", 'write it in quotes: ids such as 7 are "7"'),
    ("recommend", recommend(users=[ZOE, ZOE]), 422, "body.users[1].user_id", "the same as that of users[0]",
     "send each user once"),
    ("recommend", recommend(users=[{**ZOE, "user_id": str(n)} for n in range(3)]), 422, "body.users",
     "3 users, and 2 are allowed", "send less, or have the service started with a higher limit"),
    ("recommend", recommend(users=[{**ZOE, "history": ["a"] * 4}]), 422, "body.users[0].history",
     "4 items, and 3 are allowed", "send the newest ones alone"),
    ("recommend", recommend(users=[{**ZOE, "user_id": "x" * 9}]), 422, "body.users[0].user_id",
     "9 characters, and 8 are allowed", "send less, or have the service started with a higher limit"),
    ("recommend", recommend(k=0), 422, "body.k", "below 1", "give 1 or more"),
    ("recommend", recommend(k=10**30), 422, "body.k", f"{10**30:,} items a list, and 9 are allowed",
     "send less, or have the service started with a higher limit"),
    ("recommend", recommend(k="3"), 422, "body.k", "no whole number, but a string", "give one, without quotes"),
    ("recommend", recommend(k=True), 422, "body.k", "no whole number, but a boolean", "give one, without quotes"),
    ("recommend", recommend(K=3), 422, "body.K", "there is no such field", "drop it, or look up its name at /docs"),
    ("recommend", recommend(candidates=["heat", "alien", "fargo"]), 422, "body.candidates",
     "3 candidates, and 2 are allowed", "send less, or have the service started with a higher limit"),
    ("recommend", recommend(candidates=["ghost"]), 422, "body.candidates", "none of them is in the catalogue",
     "check their ids, or add them by POST /items"),
    ("recommend", recommend(threshold="high"), 422, "body.threshold", 'neither a finite number nor "auto"',
     'give a number such as 0.4, "auto", or null'),
    ("recommend", recommend(threshold=float("nan")), 422, "body.threshold", 'neither a finite number nor "auto"',
     'give a number such as 0.4, "auto", or null'),
    ("recommend", recommend(adapt=True), 422, "body.adapt",
     "the checkpoint was not meta-trained, so it can't adapt to users", "leave it out"),
    ("similar", {}, 422, "body", "neither item_id nor text, or both", "give one of item_id and text"),
    ("similar", {"item_id": "heat", "text": "heat"}, 422, "body", "neither item_id nor text, or both",
     "give one of item_id and text"),
    ("similar", {"item_id": "ghost"}, 404, "body.item_id", "not in the catalogue of 5",
     "check the id, or add the item by POST /items"),
    ("similar", {"text": "x" * 21}, 422, "body.text", "21 characters, and 20 are allowed",
     "send less, or have the service started with a higher limit"),
    ("similar", {"text": "x", "k": 10}, 422, "body.k", "10 items a list, and 9 are allowed",
     "send less, or have the service started with a higher limit"),
    ("items", {"items": []}, 422, "body.items", "an empty list", "give one or more"),
    ("items", {"items": [{"item_id": "", "text": "a"}]}, 422, "body.items[0].item_id", "empty",
     "give one character or more"),
    ("items", {"items": [{"item_id": "a"}]}, 422, "body.items[0]", "neither text nor fields, or both",
     "give one of text and fields"),
    ("items", {"items": [{"item_id": "a", "text": " "}]}, 422, "body.items[0]", "no text",
     "describe the item, since the model knows it by that"),
    ("items", {"items": [{"item_id": "a", "fields": {"titel": "A"}}]}, 422, "body.items[0].fields.titel",
     "a field that makes no text", "give title, year, genres"),
    ("items", {"items": [{"item_id": "a", "fields": {"year": 1995}}]}, 422, "body.items[0].fields.year",
     "no string, but a number", 'write it in quotes: ids such as 7 are "7"'),
    ("items", {"items": [{"item_id": "a", "text": "x" * 21}]}, 422, "body.items[0].text",
     "21 characters, and 20 are allowed", "send less, or have the service started with a higher limit"),
    ("items", {"items": [{"item_id": "a", "text": "a"}] * 2}, 422, "body.items[1].item_id",
     "the same as that of items[0]", "send each item once"),
    ("items", {"items": [{"item_id": str(n), "text": "a"} for n in range(3)]}, 422, "body.items",
     "3 items, and 2 are allowed", "send them in parts"),
    ("items", {"items": [{"item_id": str(n), "text": "a"} for n in range(2)]}, 409, "body.items",
     "the service would hold 7 items, and 6 are allowed", "have it started with a higher limit"),
])  # fmt: skip
def test_what_is_wrong_where_and_how_to_mend_it(served, path, body, status, where, what, mend):
    answer = served.post(f"/{path}", content=json.dumps(body), headers=JSON)
    assert told(answer) == (status, where, what, mend)


@pytest.mark.parametrize(("content", "headers", "status", "what"), [
    (b'{"users": [', JSON, 422, "no JSON: Expecting value at character 11"),
    (b"", JSON, 422, "missing"),
    (b'{"users": []}', {}, 415, "not sent as JSON"),
    (b'{"users": []}', {"Content-Type": "text/plain"}, 415, "not sent as JSON"),
    (b'{"users": [{"user_id": "\xff", "history": []}]}', JSON, 400, "There was an error parsing the body"),
    (b'{"users": [{"user_id": "\\ud800", "history": []}]}', JSON, 422, "no text"),
    (b'{"users": [], "\\ud800": 1}', JSON, 422, "no text"),
    (b'{"k": ' + b"9" * 900 + b"}", JSON, 422, "missing"),
    (b'{"users": "' + b"x" * 1000 + b'"}', JSON, 413, "more than the 999 bytes that are allowed"),
])  # fmt: skip
def test_a_body_that_is_no_request(served, content, headers, status, what):
    answer = served.post("/recommend", content=content, headers=headers)
    assert told(answer)[::2] == (status, what)


def test_who_leaves_k_out_gets_as_many_as_are_allowed(recommender):
    with client_of(recommender, limits=Limits(k=2)) as client:
        assert len(client.post("/recommend", json=recommend()).json()["users"][0]["items"]) == 2
        assert len(client.post("/similar", json={"item_id": "heat"}).json()["items"]) == 2


def test_a_large_body_that_comes_in_pieces_is_refused_too(served):
    answer = served.post("/recommend", content=(b" " * 100 for _ in range(11)), headers=JSON)
    assert told(answer)[:2] == (413, "body")


@pytest.mark.parametrize("content", [b"[" * 200_000, b'{"k":' + b"9" * 5000 + b"}"])
def test_what_a_parser_could_choke_on_is_refused(client, content):
    answer = client.post("/recommend", content=content, headers=JSON)
    assert told(answer)[::2] == (400, "There was an error parsing the body")


@pytest.mark.parametrize(("method", "path", "status", "what"), [
    ("GET", "/", 404, "Not Found"), ("POST", "/recommendations", 404, "Not Found"),
    ("GET", "/recommend", 405, "Method Not Allowed"), ("DELETE", "/items", 405, "Method Not Allowed"),
])  # fmt: skip
def test_a_path_that_is_not_served_is_answered_with_those_that_are(served, method, path, status, what):
    answer = served.request(method, path)
    assert told(answer)[:3] == (status, f"{method} {path}", what)
    assert "POST /recommend" in told(answer)[3]


def test_of_many_problems_the_first_few_are_told(served):
    users = [{"user_id": f"{n}", "history": n} for n in range(9)]
    body = served.post("/recommend", json={"users": users}).json()
    assert (len(body["errors"]), body["more_errors"]) == (5, 4)


def test_more_requests_than_may_wait_are_told_to_come_again(recommender):
    with client_of(recommender, limits=Limits(waiting=0)) as client:
        answer = client.post("/recommend", json=recommend())
    assert told(answer) == (503, "service", "0 requests are waiting already", "send it again in a second")
    assert answer.headers["Retry-After"] == "1"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.sampled_from(["heat", "auto"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
NAMES = ["users", "k", "candidates", "threshold", "adapt", "include_known", "item_id", "text", "items"]
ALMOST = st.fixed_dictionaries(
    {}, optional={"users": st.just([ZOE]) | st.lists(st.fixed_dictionaries({"user_id": ANYTHING, "history": ANYTHING}))}
    | dict.fromkeys(NAMES[1:], ANYTHING)
)  # fmt: skip


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["recommend", "similar", "items"]), ANYTHING | ALMOST)
def test_no_json_whatsoever_fails_the_service(served, path, body):
    answer = served.post(f"/{path}", content=json.dumps(body), headers=JSON)
    assert answer.status_code in {200, 404, 409, 413, 422}
    if answer.status_code != 200:
        told(answer)
