"""What recalling new items costs the others: a checkpoint asked as if a share of its items were new.

    python scripts/new_items.py --config configs/amazon-office.yaml --ckpt CKPT --share 0.2

A share of the catalogue, drawn by a seed, is taken for items without a training interaction: no residual, a new
item's prior, nothing's successor. For each `model.new_boost` it prints the recall of the cases whose target is one of
them, of the others, of both together, and how many of the ten places they take. Their texts were trained with, if the
projection, the encoder or words were: truly new items fare worse (`data.splits.name: new_items` asks about such, and
of nothing else).
"""

import argparse

import torch

from recall_lightning.baselines.evaluate import rank_cases
from recall_lightning.baselines.trained import Trained
from recall_lightning.cli.tables import print_table
from recall_lightning.cli.trainer import data_of

K = 10


def main() -> None:
    """Rank for each boost, print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", action="append", required=True)
    parser.add_argument("--ckpt", required=True, help="of `fit` with a prior")
    parser.add_argument("--share", type=float, default=0.2, help="of the items that are taken for new (default .2)")
    parser.add_argument("--boosts", type=float, nargs="+", default=[-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
    parser.add_argument("--part", choices=["validation", "test"], default="validation")
    parser.add_argument("--seed", type=int, default=0)
    asked, keys = parser.parse_known_args()
    data = data_of(asked.config, keys)
    data.setup()
    model = Trained(asked.ckpt)
    model.check(data)
    network, temperature = model.module.model, float(model.module.loss.temperature)
    drawn = torch.rand(network.n_items, generator=torch.Generator().manual_seed(asked.seed)) < asked.share
    network.rows[drawn] = -1
    new = network.rows < 0
    cases = getattr(data.split, asked.part)
    asked_new = new[torch.from_numpy(cases.interactions.items[cases.targets[:, 0]])]
    model.fit(data.split.train, data)
    rows = []
    for boost in asked.boosts:
        network.new_boost = boost * temperature
        found = rank_cases(model, cases, data)
        hit = (found.ranks[:, 0] < K).float()
        places = new[found.lists[:, :K].clamp(min=0)] & (found.lists[:, :K] >= 0)
        told = [hit[asked_new].mean(), hit[~asked_new].mean(), hit.mean()]
        rows.append([f"{boost:g}", *(f"{float(part):.4f}" for part in told), f"{places.float().sum(1).mean():.2f}"])
    print(f"{asked.part}: {int(new.sum()):,} of {len(new):,} items new, and so {int(asked_new.sum()):,} targets")
    print_table(["new_boost", f"recall@{K} of new", "of others", "of all", f"places of {K}"], rows)


if __name__ == "__main__":
    main()
