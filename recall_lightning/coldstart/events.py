"""The experiment in TensorBoard."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from recall_lightning.coldstart.report import Figure
from recall_lightning.whole import written_whole

NAME = "events.out.tfevents.adaptation"  # TensorBoard looks for the middle; the same name at each run, so none piles up


def write_events(figures: Sequence[Figure], charts: Mapping[str, Any], folder: Path) -> None:
    """Write metrics of adapted models by inner step, a scalar for each query, model and number of support interactions.

    Args:
        figures: those without a step are left to the charts.
        charts: matplotlib's figures, by name.
        folder: where to.
    """
    with tempfile.TemporaryDirectory() as made_in:
        writer = SummaryWriter(made_in)
        for figure in figures:
            if figure.step is not None:
                tag = f"{figure.metric}, query {figure.query}/{figure.model}, k={figure.support}"
                writer.add_scalar(tag, figure.value, figure.step)
        for name, chart in charts.items():
            writer.add_figure(name, chart, close=False)
        writer.close()
        (events,) = Path(made_in).iterdir()
        with written_whole(folder / NAME) as file:
            file.write(events.read_bytes())
