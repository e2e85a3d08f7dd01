"""A recommender that many tests ask."""

import pytest

from recall_lightning import Recommender


@pytest.fixture(scope="module")
def checkpoint(train_typed, tmp_path_factory):
    return train_typed(tmp_path_factory.mktemp("trained"))[1]


@pytest.fixture
def recommender(checkpoint):
    return Recommender.from_checkpoint(checkpoint, device="cpu")
