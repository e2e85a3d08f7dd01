"""The list of contenders, and what all of them must keep to."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from recall_lightning.baselines import libraries
from recall_lightning.baselines.base import UnavailableError
from recall_lightning.baselines.ease import EASE
from recall_lightning.baselines.registry import chosen, contenders
from recall_lightning.cli.compare import QUICK, SLOW
from recall_lightning.data.catalogue import Catalogue
from recall_lightning.errors import InputError

COUNTING = ("popularity", "recent", "first", "last", "markov", "item-knn", "user-knn", "ease", "ials", "bpr")
pytest.importorskip("implicit", reason="the extra `compare` isn't installed")
pytest.importorskip("sklearn", reason="the extra `compare` isn't installed")


def test_an_unknown_name_is_told_with_those_there_are(typed_data):
    with pytest.raises(InputError, match=r"no contender is called 'eas', 'svd'\. Choose among popularity, .*sasrec"):
        chosen(typed_data, ["ease", "eas", "svd"])
    assert list(chosen(typed_data, ["bpr", "ease", "bpr"])) == ["bpr", "ease"]
    assert tuple(contenders(typed_data)) == QUICK + SLOW


def test_names_in_the_table_are_each_used_once(typed_data):
    names = [contender.name for contender in contenders(typed_data).values()]
    assert len(set(names)) == len(names) == 16


def test_a_missing_library_is_told_with_what_installs_it(typed_data, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(libraries.importlib, "import_module", missing)
    for name, told in [
        ("ease", r"needs scipy: pip install 'recall-lightning\[compare\]'"),
        ("ials", r"needs implicit: pip install 'recall-lightning\[compare\]'"),
        ("bpr", r"needs implicit: "),
        ("bm25", r"needs scikit-learn: "),
        ("sentence-transformers", r"needs sentence-transformers: .*\[sentence-transformers\]'"),
    ]:
        with pytest.raises(UnavailableError, match=told):
            contenders(typed_data)[name].fit(typed_data.split.train, typed_data)


@pytest.mark.parametrize("name", QUICK)
def test_held_out_interactions_change_no_score(name, typed_data):
    other = SimpleNamespace(
        catalogue=typed_data.catalogue,
        tokens=typed_data.tokens,
        encoder=typed_data.encoder,
        cache_dir=typed_data.cache_dir,
    )  # neither the interactions nor the held-out cases nor counts are there at all
    batch = next(iter(typed_data.test_dataloader()))
    scores = []
    for data in (typed_data, other):
        contender = contenders(typed_data)[name]
        contender.fit(typed_data.split.train, data)
        scores.append(contender.score(batch))
        assert scores[-1].shape == (len(batch.users), len(typed_data.catalogue))
    assert torch.equal(*scores)
    changed = dataclasses.replace(batch, targets=batch.targets.flip(0))
    assert torch.equal(contender.score(changed), scores[1])


@pytest.mark.parametrize("name", COUNTING)
def test_what_nobody_took_is_never_above_what_goes_with_the_history(name, typed_train, ask, typed_data):
    contender = contenders(typed_data)[name]
    texts = [""] * 5
    train = typed_train([[0, 1, 2], [1, 2], [2, 0, 1], [1, 3], [0, 1]] * 5, times=list(range(12)) * 5)
    contender.fit(train, SimpleNamespace(catalogue=Catalogue([*"abcde"], texts, texts, "")))
    scores = ask(contender, [[0], [1, 0]])
    assert (scores[:, 4] < scores[:, :3].max(1)).all()
    if name not in {"popularity", "recent", "first", "last", "bpr", "ials"}:
        assert (scores[:, 4] < scores[:, 2]).all()


@pytest.mark.parametrize("name", [name for name in COUNTING if name not in {"recent", "first", "last", "bpr"}])
def test_an_empty_history_gets_popular_items(name, typed_train, ask, typed_data):
    contender = contenders(typed_data)[name]
    texts = [""] * 5
    train = typed_train([[0, 1, 2], [1, 2], [2, 0, 1], [1, 3], [4, 1]])  # 1: 5 times, 2: 3, 0: 2, 3 and 4 once
    contender.fit(train, SimpleNamespace(catalogue=Catalogue([*"abcde"], texts, texts, "")))
    assert np.argsort(-ask(contender, [[]])[0], kind="stable").tolist() == [1, 2, 0, 3, 4]


def test_an_unknown_setting_is_told():
    with pytest.raises(ValueError, match="EASE has no setting 'lambda_': it has l2, last"):
        EASE(lambda_=3)
