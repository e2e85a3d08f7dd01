"""Resumed: on several machines the first process says whether the best checkpoints come along."""

from types import SimpleNamespace

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint

from recall_lightning.callbacks.resumed import Resumed


@pytest.fixture
def went_on(tmp_path):
    """What is left of a `ModelCheckpoint`'s state in a process that has the file or not, as the first one says."""

    def states(*, here, first_says):
        former, now = tmp_path / "former", tmp_path / "now"
        former.mkdir()
        if here:
            (former / "best.ckpt").write_bytes(b"best")
        best = ModelCheckpoint(dirpath=str(now), monitor="val/recall@10")
        paths = {key: str(former / "best.ckpt") for key in ("best_model_path", "kth_best_model_path")}
        state = {
            "dirpath": str(former),
            "last_model_path": "",
            "best_k_models": {paths["best_model_path"]: 0.5},
        } | paths
        asked = []

        def broadcast(found):
            asked.append(found)
            return first_says

        strategy = SimpleNamespace(broadcast=broadcast, barrier=lambda: None)
        trainer = SimpleNamespace(
            training=True, checkpoint_callback=best, ckpt_path=str(former / "last.ckpt"), is_global_zero=False,
            strategy=strategy,
        )  # fmt: skip
        Resumed().on_load_checkpoint(trainer, None, {"callbacks": {best.state_key: state}})
        assert asked == [here]  # every process asks, or the others would wait for it
        return state["dirpath"] == str(now), now.exists()

    return states


@pytest.mark.parametrize("here", [True, False])
@pytest.mark.parametrize("first_says", [True, False])
def test_every_process_does_what_the_first_one_found(went_on, here, first_says):
    moved, written = went_on(here=here, first_says=first_says)
    assert moved == first_says
    assert not written  # by this one
