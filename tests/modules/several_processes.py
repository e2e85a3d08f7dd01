"""What tests of several processes run in each of them."""

import lightning as L
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from meta_runs import data_module, maml
from torch.distributed.tensor import DTensor
from torch.optim import SGD

from recall_lightning import ItemTower, RecallDataModule, RecallLoss, RecallModule, Tabular, TransformerTower
from recall_lightning.data.episodes import EpisodeConfig
from recall_lightning.modules.encoder_config import EncoderConfig
from recall_lightning.modules.inner_loop_config import InnerLoopConfig


class Kept(L.Callback):
    """Keeps the first step's gradient, as every process has it after they were averaged."""

    def __init__(self, path):
        self.path = path

    def on_after_backward(self, trainer, module):
        if trainer.global_step == 0 and trainer.global_rank == trainer.world_size - 1:
            torch.save({name: p.grad for name, p in module.named_parameters() if p.grad is not None}, self.path)


class KeptWeights(L.Callback):
    """Keeps the weights that training ends with, and the loss of each step, the mean over processes."""

    def __init__(self, path):
        self.path, self.losses = path, []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.losses.append(trainer.strategy.reduce(outputs["loss"].clone(), reduce_op="mean"))

    def on_train_end(self, trainer, module):
        assert module.sharded is any(isinstance(p, DTensor) for p in module.model.encoder.parameters())
        weights = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}
        whole = {name: p.full_tensor() if isinstance(p, DTensor) else p for name, p in weights.items()}
        if trainer.global_rank == trainer.world_size - 1:
            torch.save(whole | {"losses": torch.stack(self.losses)}, self.path)


def few_users(n, folder, *, shards=False):
    """A user's own two tables: n users who took five of nine items each; the interactions in one file or in shards."""
    titles = ["heat", "alien", "brazil", "fargo", "casino", "sleeper", "manhattan", "big", "speed and more words"]
    rows = [f"u{u},{titles[(u * u + (1 + u % 2) * i) % 9]}" for u in range(n) for i in range(5)]
    (folder / "items.csv").write_text("\n".join(["item_id,title", *(f"{title},{title}" for title in titles)]))
    if not shards:
        (folder / "interactions.csv").write_text("\n".join(["user_id,item_id", *rows]))
        return Tabular(str(folder / "interactions.csv"), str(folder / "items.csv"))
    users, items = zip(*(row.split(",") for row in rows), strict=True)
    table = pa.table({"user_id": users, "item_id": items})
    if not (folder / "shards").exists():  # the first process writes them, and starts the others then
        (folder / "shards").mkdir()
        for first in range(0, len(rows), 12):  # so that users stand in two of them
            pq.write_table(table.slice(first, 12), folder / "shards" / f"{first:02}.parquet")
    return Tabular(str(folder / "shards"), str(folder / "items.csv"), memory_mb=1)


def uneven(case, processes, encoder, folder):
    """Module and data of two epochs whose users don't share out: of 7 users one step asks a single one."""
    n = int(case.split("-")[1])
    tables = few_users(n, folder, shards=case.endswith("shards") and processes > 1)
    data = RecallDataModule(
        tables, "{title}", str(encoder), batch_size=6 // processes, max_history=8, eval_batch_size=2,
        max_encoded_items=100, cache_dir=str(folder / f"cache-{processes}"),
    )  # fmt: skip
    module = RecallModule(
        EncoderConfig(str(encoder), dropout=0.0), TransformerTower(1, 2, dropout=0.0),
        ItemTower(16, residual=True, residual_dropout=0.0, words=2), RecallLoss(temperature=0.1),
        candidates="catalogue" if n == 7 else "batch",
    )  # fmt: skip
    return module, data


def run(case, processes, movielens, encoder, folder):
    """Train for two steps of 16 users in all, then validate; leaves gradient and metrics as files."""
    torch.set_num_threads(1)
    L.seed_everything(0, verbose=False)
    config = EncoderConfig(str(encoder), dropout=0.0)
    whole = {"candidates": "catalogue"}
    settings = {"batch_size": 16 // processes, "max_encoded_items": 10_000}
    kept = Kept(folder / f"{case}-{processes}.kept")
    limits, strategy = {"max_epochs": 1, "limit_train_batches": 2}, "ddp"
    if case.endswith("sharded"):
        strategy = ModelParallelStrategy(processes, 1, save_distributed_checkpoint=False)
    if case.startswith("uneven"):
        module, data = uneven(case, processes, encoder, folder)
        kept, limits = KeptWeights(kept.path), {"max_epochs": 2, "gradient_clip_val": 0.5}
    elif case == "maml":
        episodes = EpisodeConfig(min_support=4, max_support=4, n_queries=3)
        data = data_module(movielens, encoder, episodes=episodes, **settings)
        loop = InnerLoopConfig(steps=2)
        module = maml(
            encoder, user_tower=TransformerTower(1, 2, dropout=0.0), inner_loop=loop, encoder={"dropout": 0.0}
        )
    else:
        data = data_module(movielens, encoder, RecallDataModule, **settings)
        more = whole | {"prior": True, "transitions": True} if case == "catalogue" else {}
        item_tower = ItemTower(16, residual=True, residual_dropout=0.0, words=2)
        module = RecallModule(
            config, TransformerTower(1, 2, dropout=0.0), item_tower, RecallLoss(temperature=0.1), **more
        )
    if not case.endswith("sharded"):  # the module's own optimizer has to work with shares of weights
        module.configure_optimizers = lambda: SGD(module.parameters(), lr=0.1)
    trainer = L.Trainer(
        accelerator="cpu", devices=processes, strategy=strategy if processes > 1 else "auto", **limits,
        logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, num_sanity_val_steps=0, use_distributed_sampler=False,
        default_root_dir=folder, callbacks=[kept],
    )  # fmt: skip
    trainer.fit(module, data)
    trainer.save_checkpoint(folder / f"{case}-{processes}.ckpt")
    if trainer.global_rank == 0:
        torch.save(
            {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val")},
            folder / f"{case}-{processes}.metrics",
        )
