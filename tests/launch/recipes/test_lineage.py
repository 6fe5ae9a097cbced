"""The record of outputs: what they are made of, and the time of every attempt."""

import dataclasses
import json

import pytest

from launch.recipes.lineage import FILE, Lineage, Output, recipe_file_of

EXPECTED = Output(step="train", path="run", id="", commands=("python -m x",), seconds=0.0)


@pytest.fixture
def reopened(tmp_path):
    """Reads the lineage anew, as the next process does."""
    return lambda: Lineage(tmp_path, recipe="toy", recipe_file="/toy.yaml")


def test_what_is_put_is_read_back(reopened, tmp_path):
    made = dataclasses.replace(EXPECTED, id="1", parents={"a": "2", "b": None}, seconds=3.0)
    reopened().put("student", made)
    assert reopened().outputs == {"student": made}
    assert recipe_file_of(tmp_path) == "/toy.yaml"


def test_an_attempt_that_was_killed_counts_up_to_its_last_trace(reopened):
    lineage = reopened()
    assert lineage.begin("student", EXPECTED) == 0.0
    since = lineage.begun["student"].since
    assert reopened().begin("student", EXPECTED, last_trace=since + 5.0) == pytest.approx(5.0)
    since = reopened().begun["student"].since
    # Nothing was written in the second attempt: what is there is of the first.
    assert reopened().begin("student", EXPECTED, last_trace=since - 1.0) == pytest.approx(5.0)


def test_an_attempt_that_failed_counts_whole(reopened):
    lineage = reopened()
    lineage.begin("student", EXPECTED)
    lineage.interrupted("student", seconds=7.0)
    assert reopened().begin("student", EXPECTED, last_trace=2.0**40) == 7.0


def test_attempts_to_make_something_else_do_not_count(reopened):
    lineage = reopened()
    lineage.begin("student", EXPECTED)
    lineage.interrupted("student", seconds=7.0)
    assert reopened().begin("student", dataclasses.replace(EXPECTED, commands=("other",))) == 0.0


def test_a_step_is_complete_or_begun(reopened):
    lineage = reopened()
    lineage.put("student", dataclasses.replace(EXPECTED, id="1"))
    lineage.begin("student", EXPECTED)
    assert list(reopened().outputs) == []
    lineage.put("student", dataclasses.replace(EXPECTED, id="1"))
    assert reopened().begun == {}


def test_a_lineage_of_before_is_read(tmp_path):
    """Without attempts, and without the recipe's file."""
    plain = {"format": 1, "outputs": {"a": {**dataclasses.asdict(EXPECTED), "id": "1"}}}
    (tmp_path / FILE).write_text(json.dumps(plain))
    assert Lineage(tmp_path, recipe="toy").outputs["a"].id == "1"
    assert recipe_file_of(tmp_path) == ""
