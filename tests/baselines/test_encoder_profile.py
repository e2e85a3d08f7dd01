"""The untouched encoder: cosines to the mean of the newest items' vectors."""

import pytest
import torch
from torch.nn.functional import cosine_similarity

from recall_lightning.baselines import encoder_profile
from recall_lightning.baselines.encoder_profile import EncoderProfile
from recall_lightning.baselines.tuning import tune


@pytest.mark.parametrize("last", [1, 2, None])
def test_a_profile_is_the_cosine_to_the_mean_of_the_last_items(typed_data, last):
    profile = EncoderProfile(typed_data.encoder, last=last)
    profile.fit(typed_data.split.train, typed_data)
    batch = next(iter(typed_data.test_dataloader()))
    scores = profile.score(batch)
    assert torch.allclose(profile.vectors.norm(dim=1), torch.ones(len(typed_data.catalogue)))
    for row in range(len(batch.users)):
        met = [item for item in batch.history[row].tolist() if item >= 0]
        user = torch.stack([profile.vectors[item] for item in (met[-last:] if last else met)]).mean(0)
        for item in range(len(typed_data.catalogue)):
            expected = float(cosine_similarity(user, profile.vectors[item], dim=0))
            assert float(scores[row, item]) == pytest.approx(expected, abs=1e-5)


def test_tuning_encodes_the_catalogue_once(typed_data, monkeypatch):
    encoded = []
    text_vectors = encoder_profile.text_vectors
    monkeypatch.setattr(encoder_profile, "text_vectors", lambda data: encoded.append(1) or text_vectors(data))
    tune(EncoderProfile(typed_data.encoder), typed_data)
    assert encoded == [1]
