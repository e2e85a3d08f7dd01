"""Callbacks by which a process of a run is lost: named on the command line of tests."""

import os
import signal
import time

import lightning as L


class Killed(L.Callback):
    """The system kills the process of one rank in its third step."""

    def __init__(self, rank: int):
        self.rank = rank

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_rank == self.rank and trainer.global_step == 2:
            os.kill(os.getpid(), signal.SIGKILL)


class Stalled(Killed):
    """The process of one rank stands still in its third step, as one on a machine that is gone."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_rank == self.rank and trainer.global_step == 2:
            time.sleep(3600)


class Alone(Killed):
    """The process of one rank is killed while another is busy by itself for long."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step == 2 and trainer.global_rank != self.rank:
            time.sleep(3600)
        super().on_train_batch_start(trainer, module, batch, batch_idx)
