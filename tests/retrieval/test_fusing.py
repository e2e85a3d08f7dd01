"""Fusing: the model's scores and another channel's as one ranking."""

import torch
from torch import tensor

from recall_lightning.fusion import fuse_ranks
from recall_lightning.retrieval.fusing import Fusing

INF = float("inf")


def test_each_part_of_the_users_is_fused_with_what_the_channel_says_of_them():
    of_user = {"ann": [1.0, 2.0, 3.0], "bob": [3.0, 1.0, 2.0], "cy": [2.0, 3.0, 1.0]}
    asked = []

    def score(user_ids, history):
        asked.append((list(user_ids), history.tolist()))
        return tensor([of_user[user] for user in user_ids])

    rescored = Fusing(score, "rank", 0.5, 2).of(list(of_user), tensor([[-1, 0], [1, 2], [0, 1]]))
    model = tensor([[-INF, 0.2, 0.1], [0.3, -INF, -INF], [0.1, 0.2, -INF]])
    found = torch.cat([rescored(users, model[users].clone()) for users in (slice(0, 2), slice(2, 3))])
    assert asked == [(["ann", "bob"], [[-1, 0], [1, 2]]), (["cy"], [[0, 1]])]
    channel = tensor([[-INF, 2, 3], [3, -INF, -INF], [2, 3, -INF]])  # of what the model offers alone
    assert found.equal(fuse_ranks([model, channel], [1.0, 0.5]))
