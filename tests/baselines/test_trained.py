"""Trained: a checkpoint in a comparison is the model that was trained, whatever else the config says."""

import pytest
import torch

from recall_lightning import ItemTower, MeanTower, RecallDataModule, RecallModule, Tabular, TextTower
from recall_lightning.baselines.evaluate import rank_cases
from recall_lightning.baselines.trained import Trained
from recall_lightning.modules.encoder_config import EncoderConfig


@pytest.fixture
def read(typed, tiny_encoder, tmp_path):
    def data(text="{title}. {genres}", **options):
        reader = Tabular(str(typed / "interactions.csv"), str(typed / "items.csv"))
        made = RecallDataModule(reader, text, str(tiny_encoder), cache_dir=str(tmp_path / "cache"), **options)
        made.setup()
        return made

    return data


WITH_TRANSITIONS = {"transitions": True, "neighbours": True, "candidates": "catalogue"}


@pytest.fixture(
    params=[(MeanTower, None, {}), (TextTower, 32, {}), (MeanTower, None, WITH_TRANSITIONS)],
    ids=["of vectors", "of text", "with transitions"],
)
def trained(request, read, tiny_encoder, fit_once):
    tower, history_tokens, more = request.param
    data = read(history_tokens=history_tokens)
    module = RecallModule(EncoderConfig(str(tiny_encoder)), tower(), ItemTower(), ks=[2], **more)
    trainer, path = fit_once(module, data)
    (told,) = trainer.test(module, data, verbose=False)
    return Trained(path), told, data


def scores(contender, data):
    contender.fit(data.split.train, data)
    return contender.score(next(iter(data.test_dataloader())))


def test_its_recall_is_that_of_the_command_test(trained):
    contender, told, data = trained
    contender.fit(data.split.train, data)
    ranks = rank_cases(contender, data.split.test, data).ranks[:, 0]
    assert float((ranks < 2).float().mean()) == pytest.approx(told["test/recall@2"])


def test_it_reads_the_texts_that_it_was_trained_with_by_its_own_tokenizer_and_limits(trained, read):
    contender, _, data = trained
    own = scores(contender, data)
    torch.testing.assert_close(scores(contender, read("{year}", max_text_tokens=5)), own, rtol=0, atol=0)


def test_who_has_no_history_gets_popular_items_as_from_recommend(trained):
    contender, _, data = trained
    contender.fit(data.split.train, data)
    batch = next(iter(data.test_dataloader()))
    batch.history[0] = -1
    found = contender.score(batch)
    assert found[0].tolist() == data.counts.tolist()
    assert found[1].tolist() != data.counts.tolist()
