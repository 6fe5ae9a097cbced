"""The demo's own checks: that they can fail, and that its table says what was measured."""

import copy

import pytest

from launch.demo.report import checks, table

EVALUATION = {
    "teacher": {"accuracy": 0.27, "cross_entropy": 4.9, "kl_to_teacher": 0.0},
    "student": {"accuracy": 0.15, "cross_entropy": 6.0, "kl_to_teacher": 0.9},
    "baseline": {"accuracy": 0.14, "cross_entropy": 6.1, "kl_to_teacher": 1.1},
    "unigram": {"accuracy": 0.06, "cross_entropy": 7.3, "kl_to_teacher": 2.4},
}


def failed(evaluation) -> list[int]:
    return [i for i, check in enumerate(checks(evaluation)) if not check.holds]


def test_a_good_result_holds_every_check():
    assert failed(EVALUATION) == []


@pytest.mark.parametrize(
    "model, metric, value, check",
    [
        ("teacher", "accuracy", 0.15, 0),  # 9 % ahead of the unigram predictor
        ("teacher", "cross_entropy", 6.5, 1),  # 0.8 nat ahead
        ("student", "kl_to_teacher", 1.1, 2),  # no nearer than the baseline
    ],
)
def test_a_bad_result_fails_its_check(model, metric, value, check):
    evaluation = copy.deepcopy(EVALUATION)
    evaluation[model][metric] = value
    assert failed(evaluation) == [check]


def test_table_names_every_model_and_filter():
    report = {
        "scale": "short",
        "pages": {
            "in": 206,
            "kept": 106,
            "filtered": {"redirect": 99, "namespace": 1},
            "dead_letters": 0,
        },
        "records": {"train": 9616, "heldout": 1010},
        "labels": {"sparse": {"bytes": 8.4e6, "positions": 100000, "bytes_per_position": 84.0}},
        "evaluation": EVALUATION,
        "training": {
            "student": {"steps": 100.0, "ranks": 2.0, "steps_per_s": 0.8, "data_wait": 0.004}
        },
        "predictions": [
            {"text": "a [MASK].", "guesses": {"student": [{"token": "b", "probability": 0.5}]}}
        ],
        "checks": [{"statement": "it holds", "holds": False}],
    }
    text = table(report)
    assert "206 in = 106 kept + 100 filtered (1 namespace, 99 redirect) + 0 dead letters" in text
    for name in EVALUATION:
        assert f"  {name} " in text
    assert "waiting for data  0.40% of the time" in text
    assert "FAIL  it holds" in text
    assert max(map(len, text.splitlines())) <= 100
