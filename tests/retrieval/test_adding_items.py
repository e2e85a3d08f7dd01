"""Adding items to a recommender: what they change, and what they leave as it is."""

import random

import pytest
import torch

from recall_lightning import InputError, Recommender
from recall_lightning.data.catalogue import Catalogue
from recall_lightning.retrieval import pool as pools
from recall_lightning.retrieval.back_ends import BACK_ENDS
from recall_lightning.retrieval.pool import Added

SEQUEL = "Heat 2 (2026). Action, Crime"


@pytest.fixture
def read(monkeypatch):
    """Numbers of texts that the encoder read, a call each."""
    counts = []

    def counted(encoder, tokens, device):
        counts.append(len(tokens.lengths))
        return encode_texts(encoder, tokens, device)

    encode_texts = pools.encode_texts
    monkeypatch.setattr(pools, "encode_texts", counted)
    return counts


def vector(recommender, item):
    return recommender.vectors[recommender.pool.row(item)]


def items_of(recommender, history, **options):
    return [item for item, _ in recommender.recommend({"zoe": history}, k=9, **options).of("zoe")]


def test_new_items_are_recommended_found_and_known_in_histories_at_once(recommender):
    assert recommender.add_items({"heat2": SEQUEL}) == Added(new=1, changed=0, unchanged=0)
    assert set(items_of(recommender, ["alien"])) == {"heat", "brazil", "fargo", "007", "heat2"}
    assert "heat2" not in items_of(recommender, ["alien", "heat2"])
    assert recommender.recommend({"zoe": ["heat2"]}).users_without_history == 0
    assert recommender.similar(text=SEQUEL, k=1)[0][:2] == ("heat2", SEQUEL)  # by its text, which is its title, too


def test_only_new_texts_are_read_and_all_other_vectors_stay_as_they_are(recommender, read):
    before, ids = recommender.vectors.clone(), list(recommender.pool.ids)
    recommender.add_items({"heat2": SEQUEL, "bio": "Biodome (1996). Comedy"})
    assert read == [2]
    assert recommender.pool.ids == [*ids, "heat2", "bio"]
    assert recommender.vectors[:5].equal(before)  # to the bit
    recommender.add_items({"heat2": SEQUEL, "heat": "Heat (1995). Action, Crime"})
    assert read == [2]


def test_a_changed_text_moves_its_own_vector_and_no_other(recommender, read):
    before = recommender.vectors.clone()
    told = recommender.add_items({"heat": "A heist goes wrong", "alien": "Alien (1979). Horror, Sci-Fi"})
    assert (told, read) == (Added(new=0, changed=1, unchanged=1), [1])
    row = recommender.pool.row("heat")
    others = [other for other in range(5) if other != row]
    assert recommender.vectors[others].equal(before[others])
    assert not torch.allclose(recommender.vectors[row], before[row], atol=1e-3)
    assert recommender.pool.texts[row] == "A heist goes wrong"


def test_the_vector_is_that_of_a_catalogue_which_always_had_the_text(recommender, checkpoint):
    recommender.add_items({"heat": "A heist goes wrong", "heat2": SEQUEL})
    whole = Recommender.from_checkpoint(checkpoint, device="cpu")
    trained = whole.trained
    texts = [*trained.texts, SEQUEL]
    texts[trained.row("heat")] = "A heist goes wrong"
    whole.use_items(Catalogue([*trained.ids, "heat2"], texts, texts, trained.template))
    torch.testing.assert_close(recommender.vectors, whole.vectors)  # batches differ, and so does rounding
    assert items_of(recommender, ["alien"]) == items_of(whole, ["alien"])


def test_a_text_that_differs_behind_the_cut_alone_is_not_read_again(recommender, read):
    long = "a " * 200  # more than the model reads
    recommender.add_items({"long": long + " first"})
    assert recommender.add_items({"long": long + " second"}) == Added(new=0, changed=0, unchanged=1)
    assert read == [1]
    assert recommender.pool.texts[recommender.pool.row("long")] == long + " second"


def test_items_that_replace_the_catalogue_are_read_only_where_they_are_new(recommender, read, tmp_path):
    (tmp_path / "new.csv").write_text('item_id,title,year,genres\nheat,Heat,1995,"Action, Crime"\nbio,Biodome,1996,\n')
    before = recommender.vectors.clone()
    ids = list(recommender.pool.ids)
    recommender.use_items(tmp_path / "new.csv")
    assert read == [1]
    for row, item in enumerate(ids):
        assert vector(recommender, item).equal(before[row])
    assert set(items_of(recommender, ["alien"])) == {"heat", "bio"}
    assert recommender.add_items({"brazil": "Brazil (1985). Comedy, Sci-Fi"}) == Added(1, 0, 0)  # described users only
    assert read == [1]
    assert set(items_of(recommender, ["alien"])) == {"heat", "bio", "brazil"}


def test_whatever_is_added_in_whatever_order_the_pool_is_that_of_the_whole(recommender, checkpoint):
    draw = random.Random(0)
    texts = dict(zip(recommender.pool.ids, recommender.pool.texts, strict=True))
    for _ in range(12):
        some = {f"n{draw.randrange(6)}": f"text {draw.randrange(3)}" for _ in range(draw.randrange(1, 4))}
        if draw.random() < 0.3:
            some[draw.choice(recommender.trained.ids)] = f"other {draw.randrange(2)}"
        recommender.add_items(some)
        texts.update(some)
    whole = Recommender.from_checkpoint(checkpoint, device="cpu")
    whole.use_items(texts)
    assert (recommender.pool.ids, recommender.pool.texts) == (whole.pool.ids, whole.pool.texts)
    torch.testing.assert_close(recommender.vectors, whole.vectors)
    assert recommender.tokens.values.tolist() == whole.tokens.values.tolist()


def test_a_copy_gets_items_that_the_recommender_at_work_does_not_see(recommender):
    before = recommender.recommend({"zoe": ["alien"]}).table
    changed = recommender.copy()
    changed.add_items({"heat2": SEQUEL})
    assert recommender.recommend({"zoe": ["alien"]}).table.equals(before)
    assert len(changed.recommend({"zoe": ["alien"]}).table) == len(before) + 1


@pytest.mark.parametrize(("items", "told"), [
    ({}, "items: there is none"),
    ({"": "A film"}, "an item's id is empty"),
    ({"new": "  "}, "item 'new' has no text. Give it one, or leave it out"),
])  # fmt: skip
def test_items_have_an_id_and_a_text(recommender, items, told):
    with pytest.raises(InputError, match=told):
        recommender.add_items(items)
    assert recommender.pool.ids == recommender.trained.ids


def test_what_encodes_texts_is_made_once(checkpoint, monkeypatch):
    made = []
    monkeypatch.setitem(BACK_ENDS, "bf16", lambda encoder, device: made.append(encoder) or encoder)
    recommender = Recommender.from_checkpoint(checkpoint, device="cpu", encode_with="bf16")
    recommender.add_items({"new": "a new film"})
    recommender.copy().add_items({"newer": "another film"})
    assert len(made) == 1
