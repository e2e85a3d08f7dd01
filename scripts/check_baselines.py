"""Baselines against other people's code: EASE, item kNN and iALS, on the same split, with the same settings.

    pip install 'recall-lightning[compare]' rectools==0.19.0 lenskit==0.14.4
    python scripts/check_baselines.py [--config configs/movielens-1m.yaml]

RecTools' EASE and LensKit's ItemItem and ImplicitMF learn from the same training part; users are described by the same
newest items, the whole catalogue is ranked by this package's metrics, and items already met are no candidates. Prints
both recalls and their ratio, and ends with status 1 if one is off by more than 2%. iALS starts from random factors, so
that its two figures differ by chance, too.
"""

import argparse
import sys

import numpy as np
import pandas as pd
import torch
from lenskit.algorithms.als import ImplicitMF
from lenskit.algorithms.item_knn import ItemItem
from rectools.dataset import Dataset
from rectools.models import EASEModel

from recall_lightning.baselines.base import Contender, last_of
from recall_lightning.baselines.ease import EASE
from recall_lightning.baselines.evaluate import rank_cases, recall_of
from recall_lightning.baselines.ials import IALS
from recall_lightning.baselines.item_knn import ItemKNN
from recall_lightning.cli.trainer import data_of

ALLOWED = 0.02
L2, NEIGHBOURS, ALPHA, L2_OF_FACTORS, FACTORS, ITERATIONS = 500, 200, 10, 10, 64, 15
LAST = 10  # newest items of a history that describe a user


def profiles(history, n_items):
    """`(batch, n_items)` float32, 1 for the newest items of each history."""
    newest = last_of(history, LAST)
    made = torch.zeros(len(history), n_items + 1)
    return made.scatter_(1, torch.where(newest >= 0, newest, n_items), 1.0)[:, :-1]


class Theirs(Contender):
    """Another's implementation, trained on a table of user, item, and asked about the same profiles."""

    def fit(self, train, data):
        self.n_items = len(data.catalogue)
        self.learn(pd.DataFrame({"user": train.users, "item": train.items}))


class RecToolsEase(Theirs):
    name = "EASE, RecTools"

    def learn(self, taken):
        table = taken.rename(columns={"user": "user_id", "item": "item_id"}).assign(weight=1.0, datetime="2000-01-01")
        dataset = Dataset.construct(table)
        model = EASEModel(regularization=L2).fit(dataset)
        rows = dataset.item_id_map.convert_to_external(np.arange(len(model.weight)))
        weights = np.zeros((self.n_items, self.n_items), np.float32)
        weights[np.ix_(rows, rows)] = model.weight
        self.weights = torch.from_numpy(weights)

    def score(self, batch):
        return profiles(batch.history, self.n_items) @ self.weights


class LensKitItemItem(Theirs):
    name = "item kNN, LensKit"

    def learn(self, taken):
        model = ItemItem(NEIGHBOURS, save_nbrs=NEIGHBOURS, feedback="implicit")
        model.fit(taken)
        rows, similar = model.item_index_.to_numpy(), model.sim_matrix_.to_scipy().toarray()
        weights = np.zeros((self.n_items, self.n_items), np.float32)
        weights[np.ix_(rows, rows)] = similar
        self.weights = torch.from_numpy(weights)

    def score(self, batch):
        return profiles(batch.history, self.n_items) @ self.weights


class LensKitImplicitMF(Theirs):
    name = "iALS, LensKit"

    def learn(self, taken):
        # its weight is what an interaction counts for beyond the 1 of all pairs
        self.model = ImplicitMF(
            FACTORS, iterations=ITERATIONS, reg=L2_OF_FACTORS, weight=ALPHA - 1.0, method="lu", rng_spec=0
        )
        self.model.fit(taken)

    def score(self, batch):
        scores = torch.full((len(batch.users), self.n_items), -1e9)
        rows = self.model.item_index_.to_numpy()
        for user, history in enumerate(last_of(batch.history, LAST).numpy()):
            told = pd.Series(1.0, index=history[np.isin(history, rows)])  # it fails on items that it doesn't know
            scores[user, rows] = torch.from_numpy(self.model.predict_for_user(-1, rows, told).to_numpy()).float()
        return scores


PAIRS = [
    (EASE(last=LAST, l2=L2), RecToolsEase()),
    (ItemKNN(last=LAST, shrink=0, k=NEIGHBOURS), LensKitItemItem()),
    (
        IALS(last=LAST, alpha=ALPHA, l2=L2_OF_FACTORS, factors=FACTORS, iterations=ITERATIONS),
        LensKitImplicitMF(),
    ),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/movielens-1m.yaml", help="whose data and split are used")
    data = data_of(parser.parse_args().config)
    data.setup()
    off = False
    for ours, theirs in PAIRS:
        recalls = {}
        for contender in (ours, theirs):
            contender.fit(data.split.train, data)
            ranked = rank_cases(contender, data.split.test, data, lists=False)
            recalls[contender] = [recall_of(ranked, k) for k in (10, 50)]
        for k, mine, other in zip((10, 50), recalls[ours], recalls[theirs], strict=True):
            print(
                f"{theirs.name:20} recall@{k}: ours {mine:.4f}, theirs {other:.4f}, ratio {mine / other:.4f}",
                flush=True,
            )
            off |= abs(mine / other - 1) > ALLOWED
    return int(off)


if __name__ == "__main__":
    sys.exit(main())
