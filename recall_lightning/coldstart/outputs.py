"""The experiment on disk: CSV, Markdown, charts and TensorBoard."""

from collections.abc import Sequence
from pathlib import Path

from recall_lightning.baselines.base import UnavailableError
from recall_lightning.baselines.outputs import write_csv, write_markdown
from recall_lightning.coldstart import charts
from recall_lightning.coldstart.events import write_events
from recall_lightning.coldstart.report import Figure
from recall_lightning.coldstart.tables import Table
from recall_lightning.whole import written_whole


def write(
    figures: Sequence[Figure], tables: Sequence[Table], notes: Sequence[str], metric: str, folder: Path
) -> str | None:
    """Write all files.

    Args:
        figures: of the experiment.
        tables: for the Markdown.
        notes: lines above them.
        metric: that the charts show.
        folder: made where it is missing.

    Returns:
        Why there are no charts, if there are none.
    """
    write_csv(figures, folder / "adaptation.csv", Figure)
    write_markdown(tables, folder / "adaptation.md", notes=notes)
    missing, drawn = None, {}
    try:
        drawn = {
            "recall_by_support": charts.by_support(figures, metric), "recall_by_step": charts.by_step(figures, metric)
        }  # fmt: skip
    except UnavailableError as why:
        missing = str(why)
    for name, chart in drawn.items():
        with written_whole(folder / f"{name}.png") as file:
            chart.savefig(file, format="png", dpi=150)
    write_events(figures, drawn, folder)
    return missing
