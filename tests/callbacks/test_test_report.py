"""What `test` tells beside the ranks: the lists, and recall by length of history."""

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from recall_lightning import ItemTower, MeanTower, RecallDataModule, RecallModule, Tabular
from recall_lightning.callbacks.projector import ItemSpace
from recall_lightning.callbacks.test_report import TestReport
from recall_lightning.metrics.beyond_accuracy import coverage, exposure, intra_list_diversity, popularity_lift
from recall_lightning.modules.encoder_config import EncoderConfig


class Seen(L.Callback):
    """Keeps what `test_step` gives to callbacks."""

    def on_test_start(self, trainer, module):
        self.ranks, self.lists, self.users, self.history = [], [], [], []

    def on_test_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0):
        self.ranks += outputs["ranks"][:, 0].tolist()
        self.lists += outputs["lists"].tolist()
        self.users += batch.users.tolist()
        self.history += [[i for i in row if i >= 0] for row in batch.history.tolist()]


@pytest.fixture(params=[False, True], ids=["", "prior"])
def tested(typed, tiny_encoder, request):
    (typed / "interactions.csv").write_text(
        "user_id,item_id\n"
        + "".join(f"ann,{item}\n" for item in ["heat", "alien", "brazil", "fargo", "007", "new"])
        + "".join(f"{user},{item}\n" for user in ("bob", "cy") for item in ["alien", "heat", "brazil"])
    )
    with (typed / "items.csv").open("a") as file:
        file.write("new,New,2001,Drama\n")
    data = RecallDataModule(
        Tabular(str(typed / "interactions.csv"), str(typed / "items.csv")), "{title}", str(tiny_encoder),
        eval_batch_size=2,
    )  # fmt: skip
    module = RecallModule(EncoderConfig(str(tiny_encoder)), MeanTower(), ItemTower(8), ks=[2, 4], prior=request.param)
    seen = Seen()
    trainer = L.Trainer(
        max_epochs=1, logger=TensorBoardLogger(typed), accelerator="cpu", enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, default_root_dir=typed,
        callbacks=[TestReport(), ItemSpace(), seen], log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(module, data)
    del module.item_vectors  # as in a process that only tests
    (told,) = trainer.test(module, data, verbose=False)
    seen.vectors = module.item_vectors[:, :8]  # without the prior's coordinates
    return told, seen, data


def test_recall_is_told_by_length_of_history_with_the_number_of_users(tested):
    told, seen, data = tested
    assert (told["test/n_users/history 5-9"], told["test/n_users/history 1-4"]) == (1, 2)
    hit = {data.interactions.user_ids[u]: float(rank < 2) for u, rank in zip(seen.users, seen.ranks, strict=True)}
    assert told["test/recall@2/history 5-9"] == hit["ann"]
    assert told["test/recall@2/history 1-4"] == (hit["bob"] + hit["cy"]) / 2
    assert told["test/recall@2"] == pytest.approx(sum(hit.values()) / 3)


def test_lists_are_the_best_items_but_those_already_met(tested):
    told, seen, data = tested
    for items, history in zip(seen.lists, seen.history, strict=True):
        assert len(items) == 2
        assert not set(items) & set(history)
    lists, counts = torch.tensor(seen.lists), torch.from_numpy(data.counts)
    assert told["test/coverage@2"] == pytest.approx(float(coverage(exposure(lists, 6))))
    history = torch.tensor([row + [-1] * (5 - len(row)) for row in seen.history])
    assert told["test/popularity_lift@2"] == pytest.approx(
        float(popularity_lift(lists, history, counts).nanmean()), rel=1e-5
    )
    unlike = intra_list_diversity(lists, seen.vectors)
    assert told["test/diversity@2"] == pytest.approx(float(unlike.nanmean()), abs=1e-6)
    assert {"test/gini@2", "test/novelty@2"} <= told.keys()


def test_the_projector_shows_what_texts_made_of_items_and_not_how_popular_they_are(tested, typed):
    (shown,) = typed.rglob("tensors.tsv")
    assert {len(line.split("\t")) for line in shown.read_text().splitlines()} == {8}
    (named,) = typed.rglob("projector_config.pbtxt")
    for table in (shown, shown.with_name("metadata.tsv")):
        assert f'"{table.relative_to(named.parent)}"' in named.read_text()
