"""SASRec: learns what follows what, stops by validation, and knows no item that it never met."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from recall_lightning.baselines.base import UnavailableError
from recall_lightning.baselines.evaluate import rank_cases, recall_of
from recall_lightning.baselines.sasrec import Projected, SASRec, TextSASRec
from recall_lightning.data.catalogue import Catalogue
from recall_lightning.data.interactions import Interactions
from recall_lightning.data.ragged import offsets_of
from recall_lightning.data.splits import leave_last_out
from recall_lightning.data.tokens import Frame, Tokens

N_ITEMS = 8  # 0 to 5 in a circle, of which each user walks a part; 6 is held out, 7 was never taken


def circle(held=None):
    """Data of 40 users, each of whom walks on from item to item."""
    histories = [[(user + step) % 6 for step in range(3 + user % 3)] for user in range(40)]
    lengths = np.array([len(history) for history in histories], np.int64)
    items = np.array([item for history in histories for item in history], np.int64)
    split = leave_last_out(Interactions([str(u) for u in range(40)], items, None, offsets_of(lengths)))
    split = SimpleNamespace(train=split.train, validation=split.validation, test=split.test, held_items=held)
    tokens = Tokens(np.zeros(0, np.int32), offsets_of(np.zeros(N_ITEMS, np.int64)), Frame([], [], 0))
    texts = [str(item) for item in range(N_ITEMS)]
    return SimpleNamespace(split=split, catalogue=Catalogue(texts, texts, texts, ""), tokens=tokens, eval_batch_size=16)


def fitted(data, **options):
    made = SASRec(**({"dim": 16, "max_history": 4, "batch_size": 8, "learning_rate": 0.01, "dropout": 0.0} | options))
    made.fit(data.split.train, data)
    return made


def test_it_learns_what_comes_next():
    data = circle()
    assert recall_of(rank_cases(fitted(data, max_epochs=20), data.split.test, data), 1) > 0.7  # by chance: 0.2


def test_equal_seeds_give_equal_scores(ask):
    data = circle()
    once, again, other = (ask(fitted(data, max_epochs=2, seed=seed), [[0, 1], [2]]) for seed in (0, 0, 1))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)


def test_it_stops_where_validation_no_longer_gains_and_keeps_the_best_weights(monkeypatch):
    told = iter([0.3, 0.5, 0.4, 0.4, 0.9])
    weights = []

    def recall(*_):
        weights.append(made.items().detach().clone())
        return next(told)

    monkeypatch.setattr("recall_lightning.baselines.sasrec.recall_of", recall)
    data = circle()
    made = SASRec(dim=16, max_history=4, batch_size=8, patience=2)
    made.fit(data.split.train, data)
    assert len(weights) == 4  # the second was the best, and two more brought nothing
    assert made.settings["epochs"] == 2
    assert torch.equal(made.items(), weights[1])


def test_only_the_newest_items_are_seen(ask):
    made = fitted(circle(), max_epochs=1)
    scores = ask(made, [[5, 5, 0, 1, 2, 3], [4, 4, 0, 1, 2, 3]])
    np.testing.assert_array_equal(scores[0], scores[1])


def test_items_that_it_never_met_come_last_and_who_has_no_history_gets_popular_items(ask):
    held = np.zeros(N_ITEMS, bool)
    held[6] = True
    made = fitted(circle(held), max_epochs=2)
    scores = ask(made, [[0, 1], []])
    assert (scores[0, 6:] < scores[0, :6].min()).all()
    assert scores[1].tolist() == made.counts.tolist()


def test_a_held_item_gets_no_gradient():
    held = np.zeros(N_ITEMS, bool)
    held[6] = True
    made = fitted(circle(held), max_epochs=1)
    torch.manual_seed(0)
    start = torch.randn(N_ITEMS, 16) * 16**-0.5
    assert torch.equal(made.items()[6], start[6])
    assert not torch.equal(made.items()[7], start[7])  # a negative, as any item of the catalogue


def test_without_pairs_to_train_on_it_says_so():
    data = circle()
    with pytest.raises(UnavailableError, match="needs users with two training interactions"):
        SASRec().fit(Interactions(["ann"], np.array([0]), None, np.array([0, 1])), data)


@pytest.fixture
def texts(monkeypatch):
    """Vectors of the circle's items: 6, which is held out, reads as 2 does."""
    vectors = torch.randn(N_ITEMS, 12, generator=torch.Generator().manual_seed(0))
    vectors[6] = vectors[2]
    monkeypatch.setattr("recall_lightning.baselines.sasrec.text_vectors", lambda data: vectors)
    return vectors


def test_of_texts_an_item_that_it_never_met_is_ranked_by_what_it_reads_like(texts, ask):
    held = np.zeros(N_ITEMS, bool)
    held[6] = True
    data = circle(held)
    made = TextSASRec("encoder", dim=16, max_history=4, batch_size=8, learning_rate=0.01, dropout=0.0, max_epochs=20)
    made.fit(data.split.train, data)
    scores = ask(made, [[0, 1], [5, 0, 1], []])
    assert made.serves_new_items
    for row in scores[:2]:
        assert set(np.argsort(-row)[:2]) == {2, 6}
        assert row[2] == pytest.approx(row[6], abs=1e-4)
    assert scores[2].tolist() == made.counts.tolist()


def test_it_is_the_same_whether_the_texts_vectors_were_kept_or_made_by_an_encoder_that_draws_weights(monkeypatch, ask):
    vectors, found = torch.randn(N_ITEMS, 12), []
    for draws in (0, 3):
        monkeypatch.setattr(
            "recall_lightning.baselines.sasrec.text_vectors",
            lambda _, draws=draws: vectors + 0 * torch.randn(draws).sum(),
        )
        made = TextSASRec("encoder", dim=16, max_history=4, batch_size=8, max_epochs=1)
        data = circle()
        made.fit(data.split.train, data)
        found.append(ask(made, [[0, 1], [2]]))
    assert np.array_equal(*found)


def test_texts_are_made_alike_by_what_training_knows_and_are_not_trained(texts):
    known = torch.arange(N_ITEMS) < 6
    made = Projected(texts, known, 4)
    assert made.texts[:6].mean(0).numpy() == pytest.approx(np.zeros(12), abs=1e-6)
    assert made.texts[:6].std(0, correction=0).numpy() == pytest.approx(np.ones(12), abs=1e-5)
    other = texts.clone()
    other[6:] = 100.0
    assert torch.equal(Projected(other, known, 4).texts[:6], made.texts[:6])
    assert {name for name, _ in made.named_parameters()} == {"map.weight", "map.bias"}
