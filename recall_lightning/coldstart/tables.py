"""The experiment as tables, for the terminal and for Markdown."""

from collections.abc import Iterator, Sequence

from recall_lightning.coldstart.answers import BASE, CONTROL
from recall_lightning.coldstart.experiment import RATES, Outcome
from recall_lightning.coldstart.report import Figure

Table = tuple[str, list[str], list[list[str]]]  # title, header, rows

_LEAST = 1e-6  # less is what rounding to float32 leaves of an interval that ends at 0

_ASKED = {
    "next": "what follows a user's first k interactions",
    "fixed": "one window for every k, the support right before it",
}


def tables(figures: Sequence[Figure], k: int) -> Iterator[Table]:
    """For each query: recall by number of support interactions, differences to the adapted model and to the best
    baseline, and recall by inner step.
    """
    for query in dict.fromkeys(figure.query for figure in figures):
        of_query = [figure for figure in figures if (figure.query, figure.metric) == (query, f"recall@{k}")]
        yield f"query {query} ({_ASKED[query]}): recall@{k} by support interactions (users)", *by_support(of_query)
        yield f"query {query}: recall@{k} of MAML, adapted, minus that of others, same users", *differences(of_query)
        if any(figure.over_best is not None for figure in of_query):
            yield f"query {query}: recall@{k} minus the best baseline's, same users", *over_best(of_query)
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
    rows = [
        [str(of.support), of.model, *_told(of.difference, of.difference_low, of.difference_high)]
        for of in _last(figures, ("start", "control", "base", "base fused", "adapted fused"))
        if of.difference is not None
    ]
    return ["k", "minus", "difference", "95% interval", ""], rows


def over_best(figures: Sequence[Figure]) -> tuple[list[str], list[list[str]]]:
    """A row for each number of support interactions and model: how far it is above the best baseline there."""
    best = {figure.support: figure.model for figure in figures if figure.role == "best baseline"}
    rows = [
        [str(of.support), of.model, best[of.support], *_told(of.over_best, of.over_best_low, of.over_best_high)]
        for of in _last(figures, ("base", "control", "start", "adapted", "base fused", "adapted fused"))
        if of.over_best is not None
    ]
    return ["k", "model", "minus", "difference", "95% interval", ""], rows


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


def _last(figures: Sequence[Figure], roles: Sequence[str]) -> Iterator[Figure]:
    """Those of some roles after their last step, by number of support interactions."""
    for support in dict.fromkeys(figure.support for figure in figures):
        last = {figure.role: figure for figure in figures if figure.support == support}
        yield from (last[role] for role in roles if role in last)


def _told(difference: float, low: float | None, high: float | None) -> tuple[str, str, str]:
    """A difference, its interval, and what it says."""
    verdict = "better" if low is not None and low > _LEAST else "worse" if high is not None and high < -_LEAST else None
    between = "–" if low is None else f"{low:+.4f} to {high:+.4f}"
    return f"{difference:+.4f}", between, verdict or "can't be told apart"
