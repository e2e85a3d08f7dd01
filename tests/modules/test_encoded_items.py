"""Which items of a step get gradient: the encoder has to learn what encoding all candidates would teach it."""

from dataclasses import replace

import pytest
import torch
from meta_runs import attached, data_module

from recall_lightning import ItemTower, MeanTower, RecallDataModule, RecallLoss, RecallModule
from recall_lightning.modules.encoder_config import EncoderConfig


def gradient(module, batch):
    """Of all the encoder's weights, as one vector."""
    module.zero_grad()
    module.training_step(batch, 0).backward()
    parts = [p.grad.flatten() for p in module.model.encoder.parameters() if p.grad is not None]
    module.zero_grad()
    return torch.cat(parts)


def likeness(one, other):
    return float(torch.nn.functional.cosine_similarity(one, other, dim=0))


def test_under_a_softmax_over_the_catalogue_the_encoders_gradient_is_on_average_that_of_encoding_all_of_it(
    movielens, tiny_encoder, tmp_path
):
    data = data_module(movielens, tiny_encoder, RecallDataModule, max_encoded_items=24)
    encoder = EncoderConfig(str(tiny_encoder), dropout=0.0)
    module = RecallModule(encoder, MeanTower(), ItemTower(), RecallLoss(temperature=0.1), candidates="catalogue")
    attached(module, data, tmp_path).train()
    module.log = module.log_dict = lambda *args, **more: None
    module.refresh_cache()
    collate = data.train_dataloader().collate_fn
    keys = [(0, 3), (0, 40), (0, 77)]

    def of_all_that_are_encoded(most, from_catalogue, epoch=0):
        made = replace(collate, max_encoded=most, from_catalogue=from_catalogue)
        return gradient(module, made([(epoch, span) for _, span in keys]))

    whole = of_all_that_are_encoded(10_000, True)
    drawn = torch.stack([of_all_that_are_encoded(24, True, epoch) for epoch in range(150)]).mean(0)
    of_batch = torch.stack([of_all_that_are_encoded(24, False, epoch) for epoch in range(150)]).mean(0)
    assert likeness(drawn, whole) > 0.95
    assert float(drawn.norm()) == pytest.approx(float(whole.norm()) * 24 / len(data.catalogue), rel=0.2)
    assert likeness(of_batch, whole) < 0.8


def test_a_frozen_encoder_needs_no_items_beside_the_batchs(movielens, tiny_encoder, tmp_path):
    data = data_module(movielens, tiny_encoder, RecallDataModule)
    module = RecallModule(EncoderConfig(str(tiny_encoder), frozen_layers=-1), candidates="catalogue")
    attached(module, data, tmp_path)
    assert next(iter(data.train_dataloader())).shares is None
