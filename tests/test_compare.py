"""The comparison's pure parts: what the runs come to, how they are shown, and that the work is one.

No time is measured here, and nothing of PyTorch or Ray is started.
"""

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

from benchmarks import compare, everstep_turn, machine
from benchmarks.cases import (
    CASES,
    LEARNING_RATE,
    Case,
    load,
    loss_on_test_rows,
    network_of,
    write_rows,
)
from benchmarks.compare_picture import draw_comparison
from benchmarks.compare_table import milliseconds, tables
from benchmarks.contestants import CONTESTANTS, LABELS, LIMIT, LOCAL, OURS
from benchmarks.peers import per_sample, scikit
from benchmarks.verdict import TARGETS, Run, complaints, judged, medians, ratio, square_rate
from trainer import train
from trainer.optimizers import SGD

SVG = "{http://www.w3.org/2000/svg}"
TINY = (
    Case("sigmoids", (784, 7, 5, 10), "sigmoid", 6, 60, 2),
    Case("relus", (784, 9, 10), "relu", 10, 40, 3),
)


def run(contestant: str, case: str, step_s: float, **more: Any) -> Run:
    loss = more.pop("loss", 0.5)
    row = {"case": case, "steps": 100, "step_s": step_s, "start_s": 1.0, "loss": loss}
    return {"contestant": contestant, "repetition": 0, **row, "more": more}


def limits(case: str, step_s: float, at_rate_s: float) -> Run:
    more = {"square_gflops": 200.0, "step_s_at_square_rate": at_rate_s}
    return run(LIMIT, case, step_s, loss=None, **more)


def shown(cases: tuple[Case, ...], runs: list[Run]) -> str:
    console = Console(file=io.StringIO(), width=80)
    for each in tables(cases, runs):
        console.print(each)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_median_is_taken_over_the_repetitions_of_one_contestant_in_one_case() -> None:
    runs = [run("shared", "small", s) for s in (3.0, 1.0, 2.0)] + [run("shared", "large", 9.0)]
    found = medians(runs)
    assert found["shared", "small"].step_s == 2.0
    assert (found["shared", "small"].least_s, found["shared", "small"].most_s) == (1.0, 3.0)
    assert found["shared", "large"].repetitions == 1


def test_a_ratio_says_how_many_times_faster_ours_is() -> None:
    found = medians([run(OURS, "small", 0.001), run("torch-ddp", "small", 0.005)])
    assert ratio(found, "small", OURS, "torch-ddp") == pytest.approx(5.0)
    assert ratio(found, "small", OURS, "ray-calls") is None
    assert ratio(found, "large", OURS, "torch-ddp") is None


def test_a_target_is_reached_from_its_least_ratio_on() -> None:
    runs = [run(OURS, "small", 1.0), run("torch-ddp", "small", 4.0), run("ray-calls", "small", 5.9)]
    assert [(j.target.theirs, j.reached) for j in judged(medians(runs))] == [
        ("torch-ddp", True),
        ("ray-calls", False),
    ]


def test_the_share_of_the_limit_is_the_limits_time_by_ours() -> None:
    runs = [run(OURS, "large", 0.040), limits("large", 0.030, 0.020)]
    (share,) = judged(medians(runs))
    assert share.target.theirs == LIMIT
    assert share.ratio == pytest.approx(0.75)
    assert square_rate(runs, "large") == (200.0, 0.020)
    assert square_rate(runs, "small") is None


def test_targets_name_contestants_and_cases_that_there_are() -> None:
    cases = {case.name for case in CASES}
    for target in TARGETS:
        assert target.case in cases
        assert {target.ours, target.theirs} <= LABELS.keys()


def test_digests_that_depend_on_the_workers_are_complained_of() -> None:
    one = run(OURS, "small", 1.0, digest="aa", shards=2)
    other_shards = run(LOCAL, "small", 1.0, digest="bb", shards=1)
    assert complaints([one, one, other_shards]) == []
    other = run("everstep-1", "small", 1.0, digest="cc", shards=2)
    (complaint,) = complaints([one, other])
    assert complaint == (
        "small: the final weights of 2 shards are not one value: everstep-2 aa, everstep-1 cc"
    )


def test_who_ends_with_another_loss_did_other_work_and_is_complained_of_once() -> None:
    first, rounded = run(OURS, "small", 1.0), run("torch-1", "small", 1.0, loss=0.50001)
    fewer_steps = run("per-sample", "small", 1.0, loss=0.9) | {"steps": 7}
    other_rows = run(LOCAL, "small", 1.0, loss=0.7, shards=1)
    assert complaints([first, rounded, fewer_steps, other_rows]) == []
    wrong = run("scikit", "small", 1.0, loss=0.51)
    (complaint,) = complaints([first, wrong, wrong])
    assert (
        "scikit ends with a test loss of 0.51, everstep-2 with 0.5: not the same work" in complaint
    )


def test_the_table_holds_everyone_ratios_digests_and_targets_in_80_columns() -> None:
    runs = [
        run(OURS, "large", 0.040, digest="0123456789abcdef", shards=2),
        run("torch-ddp", "large", 0.042),
        limits("large", 0.030, 0.020),
    ]
    text = shown(CASES, runs)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    names = [line for line in text.splitlines() if line.startswith(" Floor: its products alone")]
    assert [line.split()[4:] for line in names] == [["30.0", "30.0", "30.0", "0.75", "1.0"]]
    assert "large: 784-1024-1024-10, relu, batch 512, 180 steps" in text
    assert "small" not in text
    for words in ("40.0", "1.05", "01234567", "200 GFLOP/s", "0.75 of its products, 0.50 of that"):
        assert words in text
    ddp, limit = (line for line in text.splitlines() if line.startswith(" large: Ray"))
    assert ddp.split()[-3:] == ["1.15", "1.05", "NOT"]
    assert limit.split()[-3:] == ["0.75", "0.75", "reached"]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.000_345_6, "0.346"), (0.003_456, "3.46"), (0.034_56, "34.6"), (12.3456, "12,346")],
)
def test_milliseconds_have_three_digits_that_say_something(seconds: float, expected: str) -> None:
    assert milliseconds(seconds) == expected


def test_the_picture_is_well_formed_and_has_a_bar_for_each_time() -> None:
    runs = [run(OURS, "small", 0.0004), run("per-sample", "large", 8.0), run(OURS, "large", 0.04)]
    root = ElementTree.fromstring(draw_comparison("a < b & c", CASES, medians(runs)))
    assert root.findtext(f"{SVG}title") == "a < b & c"
    _ground, *bars = root.iter(f"{SVG}rect")
    widths = [float(bar.get("width", "0")) for bar in bars]
    assert len(widths) == 3
    assert all(width > 0 for width in widths)
    assert widths == sorted(widths)  # a case's quickest first; the slowest of all is the last
    texts = [element.text or "" for element in root.iter(f"{SVG}text")]
    assert {"0.400", "40.0", "8,000", LABELS["per-sample"]} <= {*texts}
    assert not any(text.startswith("middle") for text in texts)


def test_no_time_at_all_is_a_picture_too() -> None:
    ElementTree.fromstring(draw_comparison("", CASES, {}))


def test_an_earlier_run_is_shown_again_without_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier, picture = tmp_path / "compare.json", tmp_path / "compare.svg"
    runs = [run(OURS, "small", 0.001, digest="aa", shards=2)]
    found = {
        "machine": machine.describe(),
        "cases": [asdict(case) for case in CASES],
        "failures": ["scikit failed with status 1: no"],
        "runs": runs,
    }
    earlier.write_text(json.dumps(found))
    before = earlier.read_bytes()
    command = ["compare", "--from", str(earlier), "--picture", str(picture)]
    monkeypatch.setattr("sys.argv", command)
    assert compare.main() == 1  # somebody had failed
    printed = capsys.readouterr().out
    assert "small: 784-30-10" in printed
    assert "scikit failed with status 1: no" in printed
    assert earlier.read_bytes() == before
    ElementTree.fromstring(picture.read_text())


def test_contestants_are_told_apart_by_their_names() -> None:
    assert len(LABELS) == len(CONTESTANTS)
    for contestant in CONTESTANTS:
        path = Path("benchmarks") / Path(*contestant.module.split(".")).with_suffix(".py")
        assert (Path(__file__).parent.parent / path).is_file()


def test_operations_are_counted_for_forward_weights_and_deltas() -> None:
    # By hand, 3-2-1 and a batch of 4: forward 4 x (3x2 + 2x1), weights the same, deltas 4 x 2x1.
    case = Case("", (3, 2, 1), "relu", 4, 8, 1)
    assert case.flop == 2 * (4 * 8 + 4 * 8 + 4 * 2)


def test_scaling_changes_the_epochs_or_shortens_one() -> None:
    case = Case("", (3, 2), "relu", 10, 1000, 4)
    assert case.steps == 400
    assert case.scaled(3).steps == 1200
    assert (case.scaled(0.1).steps, case.scaled(0.1).epochs) == (40, 1)
    assert case.scaled(1e-9).steps == 1


@pytest.mark.parametrize("case", TINY, ids=lambda case: case.name)
def test_all_contestants_in_numpy_come_to_everstep_s_weights(case: Case, tmp_path: Path) -> None:
    write_rows(case, tmp_path)
    work = load(case, tmp_path)
    # Everstep itself, two shards: the rows and their order have to be the same too.
    result = train(everstep_turn.configured(case, tmp_path, "local", workers=2, shards=2))
    assert result.summary.steps == case.steps
    assert not np.allclose(result.parameters, work.parameters, atol=1e-3)
    for peer in (per_sample, scikit):
        trained = peer.train(case, tmp_path)
        assert trained.steps in {0, case.steps}
        np.testing.assert_allclose(trained.parameters, result.parameters, rtol=1e-3, atol=1e-5)
        loss = loss_on_test_rows(case, tmp_path, trained.parameters)
        assert loss == pytest.approx(result.summary.test_loss, rel=1e-4)


def test_half_batches_add_up_to_the_whole_one(tmp_path: Path) -> None:
    """What DDP, the Ray calls and the bare exchange build on."""
    case = TINY[0]
    write_rows(case, tmp_path)
    work, network = load(case, tmp_path), network_of(case)
    parameters, one, other, whole = (np.copy(work.parameters) for _ in range(4))
    for step in range(2):
        for rows, out in [*zip((half[step] for half in work.halves()), (one, other), strict=True),
                          (work.order[step], whole)]:  # fmt: skip
            network.backprop(parameters, work.inputs[rows], work.targets[rows], out)
        np.testing.assert_allclose(one + other, whole, rtol=1e-3, atol=1e-5)
        SGD(LEARNING_RATE).update(parameters, whole, case.batch, one[:0], parameters, one[:0])
