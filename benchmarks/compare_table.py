"""A comparison as tables of 80 columns: one for each case, and the targets."""

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from benchmarks.cases import Case
from benchmarks.contestants import CONTESTANTS, LABELS, LIMIT, OURS
from benchmarks.verdict import (
    Judged,
    Median,
    Medians,
    Run,
    judged,
    medians,
    ratio,
    square_rate,
)


def tables(cases: Sequence[Case], runs: Sequence[Run]) -> Iterator[Table | Text]:
    """Everything that is shown of the runs, from top to bottom."""
    found = medians(runs)
    for case in cases:
        if any(name == case.name for _, name in found):
            yield _case_table(case, found)
            yield Text(_limits(case, found, runs))
    if targets := judged(found):
        yield _targets_table(targets)


def milliseconds(seconds: float) -> str:
    """Three digits that say something."""
    value = seconds * 1e3
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 1000 else 0  # noqa: PLR2004
    return f"{value:,.{digits}f}"


def describe(case: Case) -> str:
    """Network, batch and steps."""
    sizes = "-".join(map(str, case.sizes))
    return f"{case.name}: {sizes}, {case.activation}, batch {case.batch}, {case.steps} steps"


def _case_table(case: Case, found: Medians) -> Table:
    table = _new_table(describe(case))
    for name in ("ms a step", "least", "most", "times", "start s", "digest"):
        table.add_column(name, justify="right")
    for contestant in CONTESTANTS:
        if (median := found.get((contestant.name, case.name))) is not None:
            own = contestant.kind == "everstep"
            times = ratio(found, case.name, OURS, contestant.name)
            style = "bold" if contestant.name == OURS else ""
            table.add_row(contestant.label, *_cells(median, times, own), style=style)
    return table


def _cells(median: Median, times: float | None, own: bool) -> tuple[str, ...]:
    return (
        milliseconds(median.step_s),
        milliseconds(median.least_s),
        milliseconds(median.most_s),
        "-" if times is None else f"{times:.2f}",
        f"{median.start_s:.1f}",
        (median.digest or "?")[:8] if own else "",
    )


def _limits(case: Case, found: Medians, runs: Sequence[Run]) -> str:
    """The matrix products alone, in two ways, and the share of them that we reach."""
    rate, share = square_rate(runs, case.name), ratio(found, case.name, OURS, LIMIT)
    if rate is None:
        return ""
    gflops, step_s = rate
    lines = [
        f"{case.flop / 1e9:.3g} GFLOP a step in matrix products; large square products reach",
        f"{gflops:.0f} GFLOP/s on both cores: {milliseconds(step_s)} ms a step at that rate",
    ]
    if share is not None:
        of_rate = step_s / found[OURS, case.name].step_s
        lines.append(f"share reached: {share:.2f} of its products, {of_rate:.2f} of that rate")
    return "".join(f"  {line}\n" for line in lines)


def _targets_table(targets: Sequence[Judged]) -> Table:
    table = _new_table("targets: how many times faster; of the limit: its time by ours")
    for name in ("against", "at least", "reached"):
        table.add_column(name, justify="left" if name == "against" else "right", no_wrap=True)
    table.add_column("")
    for target, times in targets:
        verdict = Text("reached", "green") if times >= target.least else Text("NOT", "bold red")
        ours, theirs = LABELS[target.ours].removeprefix("Everstep, "), LABELS[target.theirs]
        table.add_row(
            f"{target.case}: {ours}", theirs, f"{target.least:g}", f"{times:.2f}", verdict
        )
    return table


def _new_table(title: str) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, padding=0, title_justify="left")
    table.add_column("", no_wrap=True)
    return table
