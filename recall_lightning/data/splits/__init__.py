"""Splits: what a model may train on, and the cases it is asked about."""

from recall_lightning.data.splits.base import Cases, Split
from recall_lightning.data.splits.cold_users import cold_users
from recall_lightning.data.splits.config import Splits
from recall_lightning.data.splits.leave_last_out import leave_last_out
from recall_lightning.data.splits.new_items import new_items
from recall_lightning.data.splits.temporal import temporal

__all__ = ["Cases", "Split", "Splits", "cold_users", "leave_last_out", "new_items", "temporal"]
