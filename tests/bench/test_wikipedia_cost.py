"""The estimate for all of English Wikipedia: its arithmetic, by hand."""

import dataclasses

import pytest

from bench.wikipedia_cost import TEACHER, Assumptions, forward_flops, gpu_hours, report, sizes

ASSUMED = Assumptions()


def test_families_are_as_large_as_their_records():
    found = {name.split(",")[0]: size for name, size in sizes(ASSUMED).items()}
    rows = 3.2e9 / 128
    assert found["`sparse`"] > 0
    assert found["full logits"] == pytest.approx(rows * 19.2 * 30522 * 2)
    # 768 numbers and a scale at 20 slots or 128 tokens; what is around them is below 1.5 %.
    assert found["`final`"] == pytest.approx(rows * 20 * 772, rel=0.015)
    assert found["`hidden`"] == pytest.approx(rows * 128 * 772, rel=0.015)


def test_everything_grows_with_the_maskings():
    double = dataclasses.replace(ASSUMED, maskings=2)
    for one, two in zip(sizes(ASSUMED).values(), sizes(double).values(), strict=True):
        assert two == 2 * one


def test_operations_of_a_row_are_those_of_the_layers_and_the_head():
    layer = 128 * (4 * 768 * 768 + 2 * 768 * 3072 + 2 * 128 * 768)
    head = 19.2 * (768 * 768 + 768 * 30522)
    assert forward_flops(TEACHER, ASSUMED) == pytest.approx(2 * (12 * layer + head), rel=1e-6)
    assert gpu_hours(989e12 * 0.35 * 3600, ASSUMED) == pytest.approx(1.0)


def test_report_names_every_assumption():
    text = "\n".join(report(ASSUMED))
    for field in dataclasses.fields(Assumptions):
        assert f"| `{field.name}` |" in text
    assert "4 host(s) x 8 rank(s) = 32 rank(s), 4,096 rows an update, 128 a rank" in text
