"""What `--profile` prints: where a step's time goes, on one screen of 80 columns."""

from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from actors.stopwatch import ACTIVITIES, Activity
from trainer.advice import advise
from trainer.profile import ActorTimes, Profile

_MOST_WORKERS: Final = 8
_SHOWN_IN: Final = "https://ui.perfetto.dev"


def show_profile(console: Console, profile: Profile) -> None:
    """The table, what to do about it, and where the trace is."""
    console.print(as_table(profile))
    for sentence in advise(profile):
        console.print(Text(sentence))
    if profile.trace is not None and profile.trace.exists():
        console.print(Text(f"trace     {profile.trace} (open it in {_SHOWN_IN})"), soft_wrap=True)
    if profile.left_out:
        line = f"          without the last {profile.left_out:,} spans, which are only summed up"
        console.print(Text(line))


def as_table(profile: Profile) -> Table:
    """A row for each actor; of many workers only those that tell most."""
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        caption="each: ms a step, and share of the actor's time",
        caption_justify="left",
    )
    table.add_column("profile", no_wrap=True)
    for column in (*ACTIVITIES, "step"):
        table.add_column(column, justify="right", no_wrap=True)
    servers = [actor for actor in profile.actors if actor not in profile.workers]
    for label, actor in [*((each.name, each) for each in servers), *_rows(profile.workers)]:
        cells = [_cell(actor, activity) for activity in ACTIVITIES]
        table.add_row(label, *cells, _number(actor.step_ms))
    return table


def _rows(workers: list[ActorTimes]) -> list[tuple[str, ActorTimes]]:
    if len(workers) <= _MOST_WORKERS:
        return [(worker.name, worker) for worker in workers]
    by_ms = sorted(workers, key=lambda worker: worker.ms("compute"))
    quick, slow = by_ms[0], by_ms[-1]
    return [
        (f"{len(workers)} workers", _together(workers)),
        (f"slow: {slow.name}", slow),
        (f"quick: {quick.name}", quick),
    ]


def _together(workers: list[ActorTimes]) -> ActorTimes:
    """All as one: sums over sums are means of a step."""
    seconds = {each: sum(worker.seconds[each] for worker in workers) for each in ACTIVITIES}
    return ActorTimes("", sum(worker.step_count for worker in workers), seconds)


def _cell(actor: ActorTimes, activity: Activity) -> str:
    if not actor.seconds[activity]:
        return "-"
    return f"{_number(actor.ms(activity))} {100 * actor.share(activity):3.0f}%"


def _number(milliseconds: float) -> str:
    """Three digits, or as many as it has."""
    decimals = 2 if milliseconds < 10 else 1 if milliseconds < 100 else 0  # noqa: PLR2004
    return f"{milliseconds:.{decimals}f}"
