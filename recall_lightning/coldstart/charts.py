"""The experiment as charts: recall by number of support interactions, and by inner step."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recall_lightning.baselines.base import UnavailableError
from recall_lightning.coldstart.answers import ADAPTED, ADAPTED_FUSED, BASE, BASE_FUSED, CONTROL, START
from recall_lightning.coldstart.report import Figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

_LEARNED: dict[str, dict[str, Any]] = {
    ADAPTED: {"color": "#d62728", "linewidth": 2.5, "marker": "o"},
    START: {"color": "#d62728", "linewidth": 1.5, "linestyle": "--", "marker": "o", "markersize": 4},
    CONTROL: {"color": "#1f77b4", "linewidth": 2.0, "marker": "s"},
    BASE: {"color": "#1f77b4", "linewidth": 1.5, "linestyle": "--", "marker": "s", "markersize": 4},
    ADAPTED_FUSED: {"color": "#d62728", "linewidth": 1.5, "linestyle": ":", "marker": "^", "markersize": 5},
    BASE_FUSED: {"color": "#1f77b4", "linewidth": 1.5, "linestyle": ":", "marker": "v", "markersize": 5},
}
_BANDS = (ADAPTED, CONTROL)


def by_support(figures: Sequence[Figure], metric: str) -> "Canvas":
    """A line a model over the number of support interactions, a panel a query, 95% bands for what adapts.

    Raises:
        UnavailableError: if matplotlib isn't installed.
    """
    canvas, panels, queries = _panels(figures)
    for axes, query in zip(panels, queries, strict=True):
        of_query = [figure for figure in figures if (figure.query, figure.metric) == (query, metric)]
        supports = list(dict.fromkeys(figure.support for figure in of_query))
        for place, model in enumerate(dict.fromkeys(figure.model for figure in of_query)):
            last = {figure.support: figure for figure in of_query if figure.model == model}  # after the last step
            points = [last[support] for support in supports]
            axes.plot(range(len(points)), [f.value for f in points], label=model, **_style(model, place))
            if model in _BANDS:
                low = [f.value if f.low is None else f.low for f in points]
                high = [f.value if f.high is None else f.high for f in points]
                axes.fill_between(range(len(points)), low, high, color=_LEARNED[model]["color"], alpha=0.12, lw=0)
        axes.set_xticks(range(len(supports)), [str(support) for support in supports])
        axes.set(title=f"query: {query}", xlabel="support interactions k", ylabel=metric)
        axes.set_ylim(bottom=0)
    _finish(canvas, panels)
    return canvas


def by_step(figures: Sequence[Figure], metric: str) -> "Canvas":
    """A line a number of support interactions over the inner steps, a panel a query; the control's are dashed.

    Raises:
        UnavailableError: if matplotlib isn't installed.
    """
    canvas, panels, queries = _panels(figures)
    for axes, query in zip(panels, queries, strict=True):
        stepped = [f for f in figures if (f.query, f.metric) == (query, metric) and f.step is not None]
        for place, support in enumerate(dict.fromkeys(figure.support for figure in stepped)):
            for model, look in (
                (ADAPTED, {"marker": "o", "markersize": 4}),
                (CONTROL, {"linestyle": ":", "linewidth": 1.2}),
            ):
                points = [figure for figure in stepped if (figure.support, figure.model) == (support, model)]
                if points:
                    steps, values = [figure.step for figure in points], [figure.value for figure in points]
                    axes.plot(steps, values, label=f"{model}, k={support}", color=f"C{place}", **look)
        axes.set(title=f"query: {query}", xlabel="inner steps", ylabel=metric)
        axes.xaxis.get_major_locator().set_params(integer=True)
    _finish(canvas, panels)
    return canvas


def _style(model: str, place: int) -> dict[str, Any]:
    if model in _LEARNED:
        return _LEARNED[model] | {"zorder": 3}
    from matplotlib import colormaps

    look = ("-", "--", "-.", ":")[place // 7 % 4]  # seven colours that stay clear of the learned models'
    return {"color": colormaps["Dark2"](place % 7), "linewidth": 1, "linestyle": look, "alpha": 0.8}


def _panels(figures: Sequence[Figure]) -> tuple["Canvas", list[Any], list[str]]:
    try:
        from matplotlib.figure import Figure as Canvas
    except ImportError as error:
        raise UnavailableError("the charts need matplotlib: pip install 'recall-lightning[compare]'") from error
    queries = list(dict.fromkeys(figure.query for figure in figures))
    canvas = Canvas(figsize=(2.5 + 4.5 * len(queries), 5), layout="constrained")
    return canvas, list(canvas.subplots(1, len(queries), squeeze=False)[0]), queries


def _finish(canvas: "Canvas", panels: list[Any]) -> None:
    for axes in panels:
        axes.grid(alpha=0.3)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside right center", fontsize="small", frameon=False)
