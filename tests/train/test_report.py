"""Runs as their directories tell them, and the page that compares them."""

import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from limbeck.config import LimbeckError, UsageError, yaml_file
from limbeck.runs import MetricsLog, RunDirectory, metric
from train.recipe import Recipe
from train.report import MOST_RUNS, report_runs
from train.reports.curves import MOST_POINTS, thinned, value_text
from train.reports.page import build_page
from train.reports.run_record import Curve, read_runs

OBJECTIVE = [
    {"loss": "kl", "signal": "top", "temperature": 2.0, "weight": 0.5},
    {"loss": "mlm", "weight": 0.25},
]


def config(**changes):
    """Settings of a run; nothing that they name need be there."""
    plain = {
        "name": "a",
        "seed": 1,
        "data": {"examples": "examples", "labels": {"top": "top"}, "heldout": "heldout"},
        "model": {
            "architecture": {
                "vocab_size": 50,
                "num_layers": 1,
                "hidden_dim": 8,
                "num_heads": 2,
                "intermediate_dim": 8,
                "max_positions": 16,
            }
        },
        "objective": OBJECTIVE,
        "optimizer": {"learning_rate": 0.01},
        "training": {"global_batch": 8, "steps": 40},
    }
    plain = {k: {**v, **changes.pop(k, {})} if isinstance(v, dict) else v for k, v in plain.items()}
    return yaml_file.to_plain(yaml_file.from_plain(Recipe, {**plain, **changes}, "recipe"))


def write_run(path, *, settings=None, steps=40, resumed=None, value=lambda name, step: 2.0 / step):
    """A run with a line a step and an evaluation every ten; each step takes half a second."""
    run = RunDirectory(path)
    run.take(settings or config())
    with MetricsLog(run, resumed_step=resumed) as log:
        for step in range((resumed or 0) + 1, steps + 1):
            names = ("train/loss", "train/loss_kl", "train/loss_mlm", "train/gradient_norm")
            values = {name: value(name, step) for name in names}
            values["train/skipped"] = step // 30
            if step > (resumed or 0) + 1:  # the first step of a process compiles
                values |= {"speed/step_s": 0.5, "speed/data_share": 0.01}
                values |= {"speed/tokens_per_s": 300.0, "speed/tokens_per_s_per_rank": 100.0}
            log.write(step=step, **values)
            if step % 10 == 0:
                scores = {"eval/accuracy": 0.125 + abs(step - 30) / 64, "eval/cross_entropy": 4.0}
                counts = {"eval/count_masked": 70, "eval/cosine_states_layer1": -0.5}
                log.write(step=step, **scores, **counts, **{"eval/count_states_layer1": 90})
    return str(path)


class Checker(HTMLParser):
    """Tags that are open, and everything a page might fetch or run."""

    def __init__(self):
        super().__init__()
        self.open, self.outside, self.tags, self.text = [], [], set(), []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        named = dict(attributes)
        for name in ("src", "href", "action", "srcset", "data"):
            if not named.get(name, "#").startswith("#"):
                self.outside.append(named[name])
        if tag not in ("meta", "br", "hr", "col"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def checked(path):
    """The text of a page that is whole and needs nothing else."""
    html = path.read_text(encoding="ascii")
    checker = Checker()
    checker.feed(html)
    assert not checker.open and not checker.outside
    assert not checker.tags & {"script", "link", "img", "iframe", "object"}
    assert "@import" not in html and "url(" not in html
    return " ".join(checker.text)


def test_runs_are_compared_on_one_page_that_needs_nothing_else(tmp_path):
    other = config(optimizer={"learning_rate": 0.02})
    paths = [
        write_run(tmp_path / "first"),
        write_run(tmp_path / "b&<i>", settings=other, steps=20, value=lambda name, step: 3.0),
    ]
    lines = report_runs(paths, html=None, json_file=str(tmp_path / "out.json"))
    assert lines[-1] == f"page  {tmp_path / 'report.html'}"
    assert re.match(r"first +40/40 +complete ", lines[1])
    assert re.match(r"b&<i> +20/40 +not complete +3 ", lines[2])
    text = checked(tmp_path / "report.html")
    for part in (
        "Masked accuracy",
        "Cross-entropy by time",
        "Cosine states_layer1",
        "Whole objective",
        "Term kl",
        "Updates left out",
        "Tokens per second",
        "optimizer.learning_rate",
        "b&<i>",
    ):
        assert part in text, part
    assert "The objectives differ" not in text
    first, second = json.loads((tmp_path / "out.json").read_text())
    assert (first["complete"], second["complete"], second["step"]) == (True, False, 20)
    assert first["best"]["eval/accuracy"] == {"value": 0.4375, "step": 10}
    assert second["last"]["train/loss"] == 3.0


def test_what_a_directory_tells_is_what_was_written(tmp_path):
    path = write_run(tmp_path / "run", steps=20)
    write_run(tmp_path / "run", steps=40, resumed=20)
    (tmp_path / "run" / "quarantine.jsonl").write_text('{"step": 1}\n{"step": 2}\n')
    (run,) = read_runs([path])
    assert (run.step, run.num_steps, run.is_complete, run.num_ranks) == (40, 40, True, 3)
    assert (run.num_starts, run.num_quarantined) == (2, 2)
    # 38 steps of half a second: the first of each process is not timed.
    assert run.hours.last == pytest.approx(38 * 0.5 / 3600)
    assert run.curves["train/loss"].steps.tolist() == list(range(1, 41))
    assert run.curves["train/loss"].tail == pytest.approx(np.mean([2 / s for s in range(37, 41)]))
    assert run.best("eval/accuracy") == (0.4375, 10)  # falls until 30, then rises
    assert run.best("eval/cross_entropy") == (4.0, 10)  # of equals the first
    assert run.best("train/gradient_norm") is None  # has no better
    assert run.term_scales == {"kl": 2.0, "mlm": 0.25}
    assert metric("eval/cosine_states_layer1").higher_is_better


def test_shares_of_the_terms_add_up_to_the_objective(tmp_path):
    values = {"train/loss": 3.0, "train/loss_kl": 1.0, "train/loss_mlm": 4.0}
    path = write_run(tmp_path / "run", value=lambda name, step: values.get(name, 1.0))
    report_runs([path], html=None, json_file=None)
    text = checked(tmp_path / "run" / "report.html")
    assert re.search(r"run kl 1 2 2 66\.7%", text) and re.search(r"run mlm 4 0\.25 1 33\.3%", text)


def test_diverged_and_empty_runs_are_reported_too(tmp_path):
    paths = [
        write_run(tmp_path / "nan", value=lambda name, step: math.nan if step > 30 else 1.0),
        write_run(tmp_path / "inf", value=lambda name, step: math.inf),
        write_run(tmp_path / "empty", steps=0),
    ]
    RunDirectory(tmp_path / "born").take(config())
    paths.append(str(tmp_path / "born"))
    with open(tmp_path / "nan" / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 41, "trai')  # torn by a kill
    lines = report_runs(paths, html=str(tmp_path / "p.html"), json_file=str(tmp_path / "o.json"))
    assert "not finite" in lines[1] and "not finite" in lines[2]
    assert "no lines yet" in lines[3] and "no lines yet" in lines[4]
    text = checked(tmp_path / "p.html")
    assert "Not finite: nan has 10, inf has 40." in text
    assert "born has written no metrics yet." in text
    json.loads((tmp_path / "o.json").read_text(), parse_constant=pytest.fail)
    report_runs(paths[-1:], html=str(tmp_path / "q.html"), json_file=None)
    checked(tmp_path / "q.html")


def test_run_of_another_version_is_read_as_far_as_it_goes(tmp_path):
    run = RunDirectory(tmp_path / "old")
    run.take({"name": "old", "training": {"steps": 3}, "no_such": {"setting": [1, 2]}})
    run.metrics_file.write_text(
        '{"step": 1, "train/loss": 2.0, "train/forgotten": 5}\n{"step": 3, "train/loss": 1.0}\n'
    )
    (record,) = read_runs([str(run.path)])
    assert record.recipe is None and record.is_complete and not record.term_scales
    assert list(record.curves) == ["train/loss"]
    report_runs([str(run.path)], html=None, json_file=None)
    text = checked(run.path / "report.html")
    assert "The settings of old are not of this version." in text and "no_such.setting" in text


def test_runs_that_cannot_be_compared_are_said_to_be_so(tmp_path):
    hard = config(objective=OBJECTIVE[1:], data={"labels": {}, "heldout": "elsewhere"})
    page = build_page(
        read_runs([write_run(tmp_path / "a"), write_run(tmp_path / "b", settings=hard)])
    )
    assert "data.heldout differs between the runs" in "".join(page.sections[0].body)
    assert "The objectives differ" in "".join(page.sections[0].body)


def test_names_are_as_short_as_they_may_be(tmp_path):
    for path in ("x/run", "y/run", "y/other"):
        RunDirectory(tmp_path / path).take(config())
    runs = read_runs([str(tmp_path / path) for path in ("x/run", "y/run", "y/other")])
    assert [run.name for run in runs] == ["x/run", "y/run", "other"]


def test_long_curves_are_thinned_to_means_and_short_ones_are_not():
    steps = np.arange(1, 1201) * 5
    values = np.sin(steps / 100.0)
    values[7], values[10:20] = np.inf, np.nan
    places, means = thinned(Curve(steps, values))
    assert len(places) == len(means) == MOST_POINTS and places[-1] == 6000
    assert means[0] == pytest.approx(np.delete(values[:10], 7).mean())
    assert np.isnan(means[1]) and np.isfinite(means[2:]).all()
    np.testing.assert_allclose(means[2:], values[20:].reshape(-1, 10).mean(1))
    places, means = thinned(Curve(steps[:9], values[:9]))
    assert places.tolist() == steps[:9].tolist() and np.isnan(means[7])


def test_no_runs_too_many_and_what_is_none_are_one_line_each(tmp_path):
    path = write_run(tmp_path / "run", steps=2)
    for paths, message in (
        ([], "at least one run"),
        ([path] * (MOST_RUNS + 1), f"at most {MOST_RUNS}"),
        ([path, f"{path}/"], "named twice"),
        ([str(tmp_path / "lost")], "lost: no such directory"),
        ([str(tmp_path)], "config.json: No such file or directory; is it a run?"),
    ):
        with pytest.raises(UsageError, match=re.escape(message)):
            report_runs(paths, html=None, json_file=None)
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1}\nrubbish\n')
    with pytest.raises(LimbeckError, match="metrics.jsonl:2: not JSON"):
        report_runs([path], html=None, json_file=None)
    assert not (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (2.31456, "2.3146"), (-0.25, "-0.2500"), (60.0, "60"), (math.nan, "not finite")],
)
def test_values_have_four_digits_where_that_is_their_size(value, text):
    assert value_text(value) == text
