"""The experiment as tables, for the terminal and for Markdown."""

from collections.abc import Iterator, Sequence

from recall_lightning.coldstart.answers import BASE, CONTROL
from recall_lightning.coldstart.experiment import RATES, Outcome
from recall_lightning.coldstart.report import Figure

Table = tuple[str, list[str], list[list[str]]]  # title, header, rows

_ASKED = {
    "next": "what follows a user's first k interactions",
    "fixed": "one window for every k, the support right before it",
}


def tables(figures: Sequence[Figure], k: int) -> Iterator[Table]:
    """For each query: recall by number of support interactions, differences, and recall by inner step."""
    for query in dict.fromkeys(figure.query for figure in figures):
        of_query = [figure for figure in figures if (figure.query, figure.metric) == (query, f"recall@{k}")]
        yield f"query {query} ({_ASKED[query]}): recall@{k} by support interactions (users)", *by_support(of_query)
        yield f"query {query}: recall@{k} of MAML, adapted, minus that of others, same users", *differences(of_query)
        yield f"query {query}: recall@{k} by inner step", *by_step(of_query)


def by_support(figures: Sequence[Figure]) -> tuple[list[str], list[list[str]]]:
    """A row a model, after its last step; a column a number of support interactions."""
    users = {figure.support: figure.n_users for figure in figures}
    value = {(figure.model, figure.support): figure.value for figure in figures}  # the last step's is the last
    rows = [
        [model, *(f"{value[model, support]:.4f}" if (model, support) in value else "–" for support in users)]
        for model in dict.fromkeys(figure.model for figure in figures)
    ]
    return ["model", *(f"k={support} ({n:,})" for support, n in users.items())], rows


def differences(figures: Sequence[Figure]) -> tuple[list[str], list[list[str]]]:
    """A row for each number of support interactions, and of what decides whether meta-training is worth it."""
    rows = []
    for support in dict.fromkeys(figure.support for figure in figures):
        last = {figure.role: figure for figure in figures if figure.support == support}
        for role in ("start", "control", "base", "best baseline", "base fused", "adapted fused"):
            figure = last.get(role)
            if figure is None or figure.difference is None:
                continue
            name = figure.model if role != "best baseline" else f"the best baseline, {figure.model}"
            rows.append([str(support), name, f"{figure.difference:+.4f}", _between(figure), _verdict(figure)])
    return ["k", "minus", "difference", "95% interval", ""], rows


def by_step(figures: Sequence[Figure]) -> tuple[list[str], list[list[str]]]:
    """A row for each adapted model and number of support interactions, a column a step."""
    stepped = [figure for figure in figures if figure.step is not None]
    steps = list(dict.fromkeys(figure.step for figure in stepped))
    value = {(figure.model, figure.support, figure.step): f"{figure.value:.4f}" for figure in stepped}
    rows = [
        [model, str(support), *(value[model, support, step] for step in steps)]
        for model, support in dict.fromkeys((figure.model, figure.support) for figure in stepped)
    ]
    return ["model", "k", *(f"step {step}" for step in steps)], rows


def notes(outcome: Outcome, figures: Sequence[Figure], k: int, part: str) -> list[str]:
    """What a reader should know beside the tables, a line each; `part` is the cases' that were asked about."""
    told = [f"cases: {part}"]
    if part == "validation":
        told[0] += ", and all settings are chosen on the very cases shown"
    for query, recalls in outcome.rates.items():
        rate = outcome.rate(query)
        edge = ": the end of the grid" if rate in (RATES[0], RATES[-1]) else ""
        told.append(
            f"{CONTROL}, query {query}: step size {rate:g} of {len(RATES)} from {RATES[0]:g} to {RATES[-1]:g}{edge}, "
            f"by validation recall@{k} {recalls[rate]:.4f} (mean over k)"
        )
    if not outcome.rates:
        told.append(
            f"{BASE} and {CONTROL} are left out: the checkpoint that meta-training started from isn't at hand. Give it "
            "by --base"
        )
    told += [
        f"{figure.model}, query {figure.query}, k={figure.support}: the inner loop diverged for {figure.diverged} of "
        f"{figure.n_users} users, who got the unadapted answer"
        for figure in figures
        if figure.diverged and figure.step == 0 and figure.metric == f"recall@{k}"
    ]
    return told + [f"{model} is left out: {why}" for model, why in outcome.left_out.items()]


def settings_table(outcome: Outcome) -> Table:
    """Settings of baselines, and of what is fused with them."""
    rows = [
        [model, query, support, ", ".join(f"{k} {'all' if v is None else v}" for k, v in chosen.items()) or "–"]
        for (query, model), of_model in outcome.settings.items()
        for support, chosen in of_model.items()
    ]
    return "settings, by validation", ["model", "query", "k", "settings"], rows


def _between(figure: Figure) -> str:
    if figure.difference_low is None:
        return "–"
    return f"{figure.difference_low:+.4f} to {figure.difference_high:+.4f}"


def _verdict(figure: Figure) -> str:
    if figure.difference_low is not None and figure.difference_low > 0:
        return "better"
    if figure.difference_high is not None and figure.difference_high < 0:
        return "worse"
    return "can't be told apart"
