"""Which knob to turn, told from where a step's time goes. Pure: numbers in, sentences out."""

from collections.abc import Sequence
from typing import Final

from trainer.profile import ActorTimes, Profile, Setting
from trainer.words import counted

_CLEARLY: Final = 0.9  # one process has to be quicker by a tenth, or nothing is said
_MOST: Final = 0.6  # of a step: whatever takes so much is what to look at
_UNEQUAL: Final = 1.5
_MATTERS: Final = 0.3  # of a step: less is not worth a sentence
_FEW_ROWS: Final = 16
_SHORT_STEP_MS: Final = 2.0  # two workers save half of it, about what messages cost
_FEWER_MESSAGES: Final = "a larger training.batch_size or training.local_steps"


def too_small(
    step_s: float, workers_s: Sequence[float], server_s: float, besides_s: float
) -> str | None:
    """The line that says that one process would be quicker; None: it would not, clearly.

    One process computes one after the other what the workers compute at once, and sends
    nothing. All arguments are means of a step, as measured.

    Args:
        step_s: what it takes.
        workers_s: what each worker computes.
        server_s: what the server adds and updates.
        besides_s: what the driver does meanwhile, and one process would have to do too.
    """
    one_process_s = sum(workers_s) + server_s + besides_s
    if one_process_s >= _CLEARLY * step_s:
        return None
    computed_s = max(workers_s, default=0.0) + server_s
    return (
        f"note: a step takes {_ms(1e3 * step_s)}, of which {_ms(1e3 * computed_s)} are"
        " computation; one process (--set cluster.kind=local) would take about"
        f" {_ms(1e3 * one_process_s)}"
    )


def advise(profile: Profile) -> list[str]:
    """One or two sentences."""
    if (server := profile.server) is None or not profile.workers:
        return ["No step was seen from its beginning to its end: nothing can be said."]
    # Whoever came late or died early saw other steps than most.
    stayed = [each for each in profile.workers if 2 * each.step_count >= server.step_count]
    workers = stayed or profile.workers
    computes = [each.ms("compute") for each in workers]
    if profile.setting.in_one_process:
        return _in_one_process(sum(computes), server, profile.setting)
    return (
        _too_small(computes, server)
        or _unequal(workers, server, profile.setting)
        or _server_bound(server)
        or _compute_bound(max(computes), server, profile.setting)
        or _nothing_stands_out(max(computes), server)
    )


def _too_small(computes: Sequence[float], server: ActorTimes) -> list[str]:
    one_process_ms = sum(computes) + server.ms("reduce", "update")
    if one_process_ms >= _CLEARLY * server.step_ms:
        return []
    return [
        f"Messages cost more than the workers save: a step takes {_ms(server.step_ms)}, one"
        f" process (cluster.kind=local) would take about {_ms(one_process_ms)}.",
        f"To make workers worth it, give each message more work: {_FEWER_MESSAGES}.",
    ]


def _unequal(workers: Sequence[ActorTimes], server: ActorTimes, setting: Setting) -> list[str]:
    by_ms = sorted(workers, key=lambda each: each.ms("compute"))
    quick, slow = by_ms[0], by_ms[-1]
    slow_ms, quick_ms = slow.ms("compute"), quick.ms("compute")
    if slow_ms < _UNEQUAL * quick_ms or slow_ms < _MATTERS * server.step_ms:
        return []
    told = (
        f"The others wait for {slow.name}: it computes {_ms(slow_ms)} a step, {quick.name}"
        f" {_ms(quick_ms)}."
    )
    if setting.shards % setting.workers:
        return [
            told,
            f"{setting.shards} shards do not divide evenly among {setting.workers} workers: set"
            f" training.shards to a multiple of {setting.workers}, or change cluster.workers.",
        ]
    return [told, "If both have as many shards, see what else runs there, or do without it."]


def _server_bound(server: ActorTimes) -> list[str]:
    share = sum(server.share(each) for each in ("reduce", "update", "send"))
    if share < _MOST:
        return []
    return [
        f"The server adds, updates and sends for {_percent(share)} of a step, and the workers"
        " wait for it: fewer cluster.workers make fewer messages.",
        f"{_FEWER_MESSAGES.capitalize()} lets workers compute more between two messages.",
    ]


def _compute_bound(compute_ms: float, server: ActorTimes, setting: Setting) -> list[str]:
    share = compute_ms / server.step_ms
    if share < _MOST:
        return []
    told = f"Workers compute for {_percent(share)} of a step"
    if setting.workers >= setting.cores:
        first = (
            f"{told}, and this machine has {counted(setting.cores, 'core')} for"
            f" {counted(setting.workers, 'worker')}: more machines (--address) make it quicker."
        )
    elif setting.workers >= setting.shards:
        first = (
            f"{told}, and each has one of the {setting.shards} shards: more training.shards let"
            " more cluster.workers share the work."
        )
    else:
        first = (
            f"{told}: more cluster.workers share the work, as long as each has a core (this"
            f" machine has {setting.cores})."
        )
    return [first, *_few_rows(setting)]


def _in_one_process(compute_ms: float, server: ActorTimes, setting: Setting) -> list[str]:
    share = compute_ms / server.step_ms
    told = f"A step takes {_ms(server.step_ms)}, {_percent(share)} of it computation"
    if server.step_ms < _SHORT_STEP_MS:
        return [f"{told}: too short for messages to pay, stay in one process.", *_few_rows(setting)]
    if setting.cores > 1 and setting.shards > 1:
        return [
            f"{told}: workers in processes of their own (cluster.kind=ray, cluster.workers="
            f"{min(setting.cores, setting.shards)}) can share it.",
            *_few_rows(setting),
        ]
    return [
        f"{told}: it can not be shared here, with {counted(setting.cores, 'core')} and"
        f" {counted(setting.shards, 'shard')}.",
        *_few_rows(setting),
    ]


def _few_rows(setting: Setting) -> list[str]:
    rows = setting.batch_size // setting.shards
    least = 1 if setting.in_one_process else setting.workers
    if rows >= _FEW_ROWS or setting.shards <= least:
        return []
    return [
        f"A shard's micro-batch has {counted(rows, 'row')}: fewer training.shards (at least"
        f" {least}) or a larger training.batch_size make larger, quicker products."
    ]


def _nothing_stands_out(compute_ms: float, server: ActorTimes) -> list[str]:
    shares = [compute_ms / server.step_ms, server.share("reduce") + server.share("update")]
    computing, serving = (_percent(share) for share in shares)
    return [
        f"Of a step's {_ms(server.step_ms)}, {computing} are the slowest worker's computing and"
        f" {serving} the server's; the rest are messages and waiting.",
        f"{_FEWER_MESSAGES.capitalize()} makes messages rarer.",
    ]


def _ms(milliseconds: float) -> str:
    decimals = 2 if milliseconds < 1 else 1 if milliseconds < 100 else 0  # noqa: PLR2004
    return f"{milliseconds:,.{decimals}f} ms"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
