"""The table of the comparison of codecs: intervals and verdicts by hand, and what is left to do."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench import quality
from bench._quality_arms import ARMS, FULL, derived, extracted
from bench._quality_table import Interval, changes, interval, markdown, read_lines, verdict
from limbeck.config.errors import UsageError


def line(arm, seed, *, ce=2.0, kl=0.1, steps=7, seconds=10.0):
    """One training."""
    return {
        "arm": arm,
        "seed": seed,
        "steps": steps,
        "cross_entropy": ce,
        "accuracy": 0.25,
        "kl": kl,
        "bytes_per_position": None if arm in ("live", "none") else 12.4,
        "seconds": seconds,
        "setup": {"mlm": 0.0},
    }


def test_interval_is_the_one_of_students_t_by_hand():
    # 1, 2, 6: mean 3, variance (4 + 1 + 9) / 2 = 7, two degrees of freedom: t = 4.303.
    found = interval([1.0, 2.0, 6.0])
    assert found.mean == 3.0
    assert found.half == pytest.approx(4.303 * math.sqrt(7 / 3), rel=1e-12)
    assert math.isnan(interval([5.0]).half)
    assert interval([4.0, 4.0]).half == 0.0


def test_interval_holds_the_mean_of_95_in_100_samples():
    """10,000 samples of three; 0.95 within 4 standard errors of a share."""
    samples = np.random.default_rng(0).normal(size=(10_000, 3))
    held = np.mean([abs(i.mean) <= i.half for i in (interval(list(s)) for s in samples)])
    assert abs(held - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 10_000)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((-0.02, 0.009), "yes"),  # better counts as within
        ((-0.001, 0.01), "yes"),
        ((0.005, 0.011), "open"),
        ((-0.5, 0.5), "open"),
        ((0.0101, 0.02), "no"),
        ((math.nan, math.nan), "one seed"),
    ],
)
def test_verdict_follows_from_the_ends_of_the_interval(ends, expected):
    low, high = ends
    assert verdict(Interval(mean=(low + high) / 2, half=(high - low) / 2)) == expected


def test_change_is_paired_by_seed_and_takes_only_those_of_both():
    mine = {seed: line("k10", seed, kl=kl) for seed, kl in ((1, 0.11), (2, 0.3), (4, 9.0))}
    partner = {seed: line(FULL, seed, kl=kl) for seed, kl in ((1, 0.1), (2, 0.2), (3, 5.0))}
    assert changes(mine, partner, "kl") == pytest.approx([0.1, 0.5])


def test_table_has_a_row_for_each_arm_that_is_there():
    kls = {FULL: (0.10, 0.20, 0.30), "k10": (0.1001, 0.2001, 0.3003), "k1": (0.15, 0.29, 0.46)}
    lines = [line(arm, seed, kl=kl) for arm, found in kls.items() for seed, kl in enumerate(found)]
    lines += [line("live", 0, kl=0.1), line("none", 0, kl=0.4), line("k4", 0, steps=8)]
    head, _, *rows = markdown(lines, steps=7).splitlines()
    cells = {row.split(" | ")[0].removeprefix("| "): row.strip("| ").split(" | ") for row in rows}
    assert head.count("|") == rows[0].count("|") == rows[-1].count("|")
    assert list(cells) == [ARMS[name].title for name in (FULL, "live", "none", "k1", "k10")]
    assert cells[ARMS["k10"].title][-2:] == ["yes", "yes"]
    assert cells[ARMS["k1"].title][-2:] == ["yes", "no"]
    assert cells[ARMS["live"].title][-4:] == ["+0.00 %", "+0.00 %", "one seed", "one seed"]
    assert "+300.00 %" in cells[ARMS["none"].title][-1]  # no verdict: it is no codec
    # 0.1, 0.05 and 0.1 % above: mean 0.0833, t 4.303, sd 0.0289 over sqrt(3).
    assert "+0.08 % [+0.01, +0.16]" in cells[ARMS["k10"].title]


def test_second_call_does_what_is_missing_seed_by_seed(tmp_path):
    options = quality.Options(arms=(FULL, "live", "k1"), seeds=(1, 2), steps=7)
    wanted = [(FULL, 1), ("live", 1), ("k1", 1), (FULL, 2), ("k1", 2)]
    assert quality.missing(options, []) == wanted
    out = tmp_path / "results.jsonl"
    lines = quality.append(out, [], line(FULL, 1))
    lines = quality.append(out, lines, line("k1", 2))
    lines = quality.append(out, lines, line("k1", 1, steps=8))
    assert read_lines(out) == lines
    assert quality.missing(options, read_lines(out)) == [("live", 1), ("k1", 1), (FULL, 2)]
    assert quality.estimate_s(options, lines, 3) == 30.0
    assert quality.estimate_s(options, [], 3) == 3 * (7 * 0.8 + 45)


def test_every_family_of_an_arm_is_made():
    made = {**extracted(6), **derived()}
    for name, arm in ARMS.items():
        assert set(arm.families) <= made.keys(), name
        assert arm.against is None or arm.against in ARMS
        terms = arm.objective(student_layer=3, mlm=0.0)
        assert {signal for term in terms for signal in term.signals} == set(arm.families)


def test_arm_that_is_none_and_a_demo_that_is_not_there_are_refused(tmp_path, capsys):
    with pytest.raises(UsageError, match=r"--arms k2: none of full, live"):
        quality.prepare(quality.Options(arms=("k2",)))
    with pytest.raises(UsageError, match="no demo there; run `make demo` first"):
        quality.prepare(quality.Options(data=str(tmp_path)))
    with pytest.raises(UsageError, match="--steps is 0"):
        quality.prepare(quality.Options(steps=0))


def small_demo(root):
    """What a demo leaves, in small, with random weights and rows."""
    from bench._train_work import Sizes, teacher_folder, write_all

    sizes = Sizes(rows=64, length=16, masked=2, vocab_size=200, student_dim=32, teacher_dim=32)
    demo = root / "demo"
    (demo / "examples").mkdir(parents=True)
    (demo / "runs/student").mkdir(parents=True)
    for split in ("train", "heldout"):
        write_all(root / split, sizes, ratios=(1.0,))
        (root / split / "examples").rename(demo / "examples" / split)
    teacher_folder(root / "train", 1.0).rename(demo / "teacher")
    config = {"model": {"checkpoint": str(demo / "teacher")}}
    (demo / "runs/student/config.json").write_text(json.dumps(config))
    return demo


@pytest.mark.slow
def test_arms_are_trained_and_a_second_call_goes_on(tmp_path):
    demo, out = small_demo(tmp_path), tmp_path / "results.jsonl"

    def call(*options):
        command = [sys.executable, "-m", "bench.quality", "--data", str(demo), "--out", str(out)]
        command += ["--work", str(tmp_path / "work"), "--steps", "12", *options]
        done = subprocess.run(
            command,
            cwd=Path(__file__).resolve().parents[2],
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    first = call("--arms", FULL, "live", "--seeds", "1")
    assert "2 trainings of 12 steps, 0 lines are there" in first
    arms = (FULL, "live", "lean120", "hidden_float16")
    second = call("--arms", *arms, "--seeds", "1")
    assert "2 trainings of 12 steps, 2 lines are there" in second
    found = {line["arm"]: line for line in read_lines(out)}
    assert set(found) == set(arms)
    assert not list((tmp_path / "work").glob("run-*"))
    # The store's full logits and the live teacher's differ in last bits: 1e-7 of a KL between
    # float32 log-probabilities near 5.
    for name in ("cross_entropy", "kl"):
        stored, live = (found[arm][name] for arm in (FULL, "live"))
        assert live == pytest.approx(stored, rel=1e-5, abs=1e-7)
    assert found["lean120"]["kl"] != found[FULL]["kl"]
    table = call("--table")
    assert len(table.splitlines()) == 2 + len(arms)
    assert second.endswith(table)
