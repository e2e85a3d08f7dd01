"""A comparison on disk: CSV, Markdown, and a bar chart with error bars."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from recall_lightning.baselines.base import UnavailableError
from recall_lightning.baselines.cache import Result
from recall_lightning.baselines.report import ALL, Figure
from recall_lightning.whole import written_whole

_SHOWN = ("ndcg@{k}", "coverage@{k}", "gini@{k}", "popularity_lift@{k}", "novelty@{k}", "diversity@{k}")


def write_csv(figures: Sequence[Any], path: Path, kind: type = Figure) -> None:
    """All figures, a row each; `kind` is their dataclass, whose fields are the columns."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(kind)])
    for figure in figures:
        values = asdict(figure).values()
        writer.writerow(["" if v is None else f"{v:.6f}" if isinstance(v, float) else v for v in values])
    _write(path, text.getvalue().encode())


def main_table(figures: Sequence[Figure], cases: str, k: int, deep: int) -> tuple[list[str], list[list[str]]]:
    """Header and rows: recall with interval and difference to the best baseline, best first."""
    header = ["model", f"recall@{k}", "95% interval", "to the best baseline", f"recall@{deep}", f"ndcg@{k}"]
    among = f"recall@{k} among new items"
    has_among = any((f.cases, f.metric) == (cases, among) for f in figures)
    rows = []
    for figure in sorted(_all(figures, cases, f"recall@{k}"), key=lambda f: -f.value):
        of_model = {f.metric: f for f in figures if (f.cases, f.group, f.model) == (cases, ALL, figure.model)}
        rows.append([
            figure.model, f"{figure.value:.4f}", interval(figure.low, figure.high), difference(figure),
            f"{of_model[f'recall@{deep}'].value:.4f}", f"{of_model[f'ndcg@{k}'].value:.4f}",
            *([f"{of_model[among].value:.4f}"] if has_among else []),
        ])  # fmt: skip
    return [*header, *(["among new items"] if has_among else [])], rows


def group_table(figures: Sequence[Figure], cases: str, k: int) -> tuple[list[str], list[list[str]]]:
    """Header and rows: recall by popularity of the target, and by group of users."""
    columns: list[tuple[str, str, str]] = []  # title, group, metric
    for f in figures:
        name, _, special = f.metric.partition(" ")
        if f.cases != cases or name != f"recall@{k}" or "among" in special:
            continue
        if (f.group == ALL) == bool(special):
            title = f"{special or f.group} ({f.n_users:,})"
            if (f.group, f.metric) not in [column[1:] for column in columns]:
                columns.append((title, f.group, f.metric))
    value = {(f.model, f.group, f.metric): f"{f.value:.4f}" for f in figures if f.cases == cases}
    models = [f.model for f in sorted(_all(figures, cases, f"recall@{k}"), key=lambda f: -f.value)]
    rows = [[m, *(value.get((m, group, metric), "–") for _, group, metric in columns)] for m in models]
    return ["model", *(title for title, _, _ in columns)], rows


def beyond_table(figures: Sequence[Figure], cases: str, k: int) -> tuple[list[str], list[list[str]]]:
    """Header and rows: what the lists are like beside their hits."""
    metrics = [name.format(k=k) for name in _SHOWN[1:]]
    value = {(f.model, f.metric): f.value for f in figures if (f.cases, f.group) == (cases, ALL)}
    metrics = [name for name in metrics if any(metric == name for _, metric in value)]
    models = [f.model for f in sorted(_all(figures, cases, f"recall@{k}"), key=lambda f: -f.value)]
    rows = [[m, *(f"{value[m, name]:.3f}" if (m, name) in value else "–" for name in metrics)] for m in models]
    return ["model", *metrics], rows


def cost_table(
    results: Mapping[str, Result], left_out: Mapping[str, UnavailableError]
) -> tuple[list[str], list[list[str]]]:
    """Header and rows: what training took, with which settings; and who could not take part."""
    rows = [
        [
            name, f"{result.seconds:.1f}", f"{result.all_seconds:.0f}", f"{result.memory / 2**20:.0f}",
            "–" if result.validation != result.validation else f"{result.validation:.4f}",
            ", ".join(f"{key} {'all' if value is None else value}" for key, value in result.settings.items()) or "–",
        ]
        for name, result in results.items()
    ]  # fmt: skip
    rows += [[name, "–", "–", "–", "–", str(why)] for name, why in left_out.items()]
    return ["model", "training s", "with tuning s", "MiB", "val recall@10", "settings, by validation"], rows


def interval(low: float | None, high: float | None) -> str:
    """`.1234 to .1345`."""
    return "–" if low is None or high is None else f"{low:.4f} to {high:.4f}"


def difference(figure: Figure) -> str:
    """`+0.0123 (+0.0045 to +0.0201)`; of the best baseline itself, that it is."""
    if figure.difference is None:
        return "–"
    if figure.model == figure.baseline:
        return "is the best baseline"
    return f"{figure.difference:+.4f} ({figure.difference_low:+.4f} to {figure.difference_high:+.4f})"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; a new line in a cell becomes a space, as it would end the row."""
    lines = [
        [" ".join(cell.split()).replace("|", "\\|") for cell in line] for line in [header, ["---"] * len(header), *rows]
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def write_markdown(
    sections: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]], path: Path, *, notes: Sequence[str] = ()
) -> None:
    """Sections, each a title and a table; notes stand above them."""
    listed = "".join(f"- {note}\n" for note in notes)
    parts = [f"### {title}\n\n{markdown(header, rows)}" for title, header, rows in sections]
    _write(path, "\n".join([listed, *parts] if notes else parts).encode())


def write_chart(figures: Sequence[Figure], cases: str, k: int, path: Path) -> None:
    """Bars of the recall, best on top, with 95% intervals; no file where nobody was ranked.

    Raises:
        UnavailableError: if matplotlib isn't installed.
    """
    try:
        from matplotlib.figure import Figure as Canvas
    except ImportError as error:
        raise UnavailableError("the chart needs matplotlib: pip install 'recall-lightning[compare]'") from error
    bars = sorted(_all(figures, cases, f"recall@{k}"), key=lambda f: f.value)
    if not bars:
        return
    canvas = Canvas(figsize=(8, 0.35 * len(bars) + 1.2), layout="constrained")
    axes = canvas.add_subplot()
    places = range(len(bars))
    # no less than 0: where all users have the same value, rounding can put their mean outside of its interval
    low = [0.0 if f.low is None else max(0.0, f.value - f.low) for f in bars]
    high = [0.0 if f.high is None else max(0.0, f.high - f.value) for f in bars]
    axes.barh(places, [f.value for f in bars], xerr=[low, high], color="#4c78a8", ecolor="#333333", capsize=3)
    axes.set_yticks(places, [f.model for f in bars])
    axes.set_xlabel(f"recall@{k}, {cases}: {bars[0].n_users:,} users, 95% intervals")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    made = io.BytesIO()
    canvas.savefig(made, format="png", dpi=150)
    _write(path, made.getvalue())


def _all(figures: Sequence[Figure], cases: str, metric: str) -> list[Figure]:
    return [f for f in figures if (f.cases, f.group, f.metric) == (cases, ALL, metric)]


def _write(path: Path, data: bytes) -> None:
    with written_whole(path) as file:
        file.write(data)
