import numpy as np
import pytest

from extract.audit import codec_error, measure
from extract.run import extract
from extract.settings import ExtractSettings
from limbeck.config.errors import UsageError
from limbeck.labels import HiddenSignal, SparseSignal, sparse


@pytest.fixture(scope="module")
def out(examples_dir, teacher_dir, tmp_path_factory):
    directory = tmp_path_factory.mktemp("audited")
    families = {"sparse": SparseSignal(k=5), "hidden": HiddenSignal(layer=1)}
    extract(
        ExtractSettings(
            examples=examples_dir,
            teacher=teacher_dir,
            out=str(directory),
            families=families,
            batch_tokens=128,
        )
    )
    return directory


def values(lines: list[str], name: str) -> tuple[float, float]:
    """(mean, largest) of a line such as `KL at T 1, nats: mean 1e-7, largest 2e-6`."""
    (line,) = (line for line in lines if name in line)
    mean, largest = line.split("mean ")[1].split(", largest ")
    return float(mean), float(largest)


def test_measure_finds_the_rounding_of_fp16_and_nothing_else(out, examples_dir, teacher_dir):
    arguments = {"examples_dir": examples_dir, "teacher_dir": teacher_dir, "sample": 40}
    lines = measure(str(out / "sparse"), **arguments)
    assert lines[0] == "codec error on 40 records:"
    for temperature in (1, 2, 4):
        mean, largest = values(lines, f"KL at T {temperature}")
        # Logits rounded by up to 2^-11 of 8: the KL is about half the square of that. A stored
        # target is float32 and sums to 1 within 1e-7, which can make it seem better than exact.
        assert -1e-7 <= mean <= largest < 2e-5 and largest > 1e-9
    _, largest = values(measure(str(out / "hidden"), **arguments), "relative error")
    assert 1e-5 < largest < 2**-11


def test_codec_error_of_a_changed_label_is_its_kl():
    logits = np.array([[4.0, 2.0, 1.0, 0.0]], np.float32)
    signal = SparseSignal(k=2, temperatures=(1.0,))
    stored = sparse.encode(logits, np.zeros(1, int), k=2, temperatures=(1.0,))
    stored["logits"] = stored["logits"] + np.array([[0, 1]], np.float16)  # 2 logits apart -> 1
    p = np.exp(logits[0] - np.log(np.exp(logits[0].astype(np.float64)).sum()))
    tail = p[2] + p[3]
    q = np.array([1, np.exp(-1)]) / (1 + np.exp(-1)) * (1 - tail)
    expected = (p[:2] * np.log(p[:2] / q)).sum()
    (error,) = codec_error(stored, logits, signal).values()
    np.testing.assert_allclose(error, [expected], rtol=1e-5)


def test_measure_with_a_teacher_of_another_folder_is_refused(out, examples_dir, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError):
        measure(
            str(out / "sparse"),
            examples_dir=examples_dir,
            teacher_dir=str(tmp_path),
            sample=4,
        )


def test_measure_of_no_records_is_refused(out, examples_dir, teacher_dir):
    with pytest.raises(UsageError, match="--sample must be at least 1, got 0"):
        measure(str(out / "sparse"), examples_dir=examples_dir, teacher_dir=teacher_dir, sample=0)


def test_measure_against_another_family_as_examples_is_refused(out, teacher_dir):
    with pytest.raises(UsageError, match="holds labels; expected examples"):
        measure(
            str(out / "sparse"),
            examples_dir=str(out / "hidden"),
            teacher_dir=teacher_dir,
            sample=4,
        )


def test_measure_with_other_examples_is_refused(out, make_examples, teacher_dir, tmp_path):
    other = make_examples(tmp_path / "other", num_rows=60, seed=6)  # equal keys, other ids
    with pytest.raises(UsageError, match="does not go with"):
        measure(str(out / "sparse"), examples_dir=other, teacher_dir=teacher_dir, sample=4)
