"""What codecs lose, measured with the teacher itself, whatever it runs in."""

import shutil

import numpy as np
import pytest

from extract.audit import codec_error
from extract.page import InspectSettings, inspect_labels
from extract.run import extract
from extract.settings import ExtractSettings
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels import (
    AttentionSignal,
    FinalSignal,
    HiddenSignal,
    QkvSignal,
    RelationsSignal,
    SparseSignal,
    codecs,
)
from limbeck.labels.side import Side
from limbeck.tokens import load_tokenizer
from limbeck.weights.hf import load_masked_lm
from limbeck.weights.onnx_export import export_onnx

FAMILIES = {
    "sparse": SparseSignal(k=5),
    "drawn": SparseSignal(k=1, threshold=0.05, sample=True),
    "hidden": HiddenSignal(layer=1),
    "int8": HiddenSignal(layer=2, codec="int8", positions="first", records=0.5),
    "final": FinalSignal(),
    "relations": RelationsSignal(layer=2),
    "qkv": QkvSignal(layer=1, codec="float16"),
    "attention": AttentionSignal(layer=2),
}


def label(examples_dir, teacher, out, families, backend="auto"):
    extract(
        ExtractSettings(
            examples=examples_dir,
            teacher=str(teacher),
            out=str(out),
            families=families,
            batch_tokens=256,
            backend=backend,
            recheck_batches=0,
        ),
        say=lambda line: None,
    )


@pytest.fixture(scope="module")
def out(examples_dir, teacher_dir, tmp_path_factory):
    directory = tmp_path_factory.mktemp("audited")
    label(examples_dir, teacher_dir, directory, FAMILIES)
    return directory


def measured(directory, examples_dir, teacher, **changes):
    """Family -> quantity -> (mean, worst), from the lines that are said."""
    lines = []
    settings = InspectSettings(
        directory=str(directory),
        examples=str(examples_dir),
        teacher=str(teacher),
        html="none",
        **changes,
    )
    inspect_labels(settings, say=lines.append)
    found, name = {}, ""
    for line in lines:
        if line.startswith("codec error of "):
            name = line.split()[3]
            found[name] = {}
        elif " worst " in line:
            quantity, numbers = line.strip().rsplit(": mean ", 1)
            mean, worst = numbers.split(", worst ")
            found[name][quantity] = (float(mean), float(worst))
    return found


def check_errors(found):
    for temperature in (1, 2, 4):
        mean, worst = found["sparse"][f"KL at T {temperature}, nats"]
        # Logits rounded by up to 2^-11 of 8: the KL is about half the square of that. A stored
        # target is float32 and sums to 1 within 1e-7, which can make it seem better than exact.
        assert -1e-7 <= mean <= worst < 2e-5 and worst > 1e-9
    assert found["drawn"]["KL at T 1, nats"][1] < 2e-5
    assert 1e-5 < found["hidden"]["relative error of a state"][1] < 2**-11
    # int8: a step of the largest component over 127, off by half at most.
    assert 1e-3 < found["int8"]["relative error of a state"][0] < 0.02
    assert found["int8"]["signal to noise of a state, dB"][1] > 30
    assert found["final"]["KL of the distribution at T 1, nats"][0] < 1e-3  # its gate
    # The decoder of the family on the teacher's own states: float32 logits of size 10.
    assert found["final"]["logit rebuilt from an exact state, difference"][1] < 1e-4
    assert found["relations"]["signal to noise of a state, dB"][1] > 30
    for name in ("queries", "keys", "values"):
        assert found["qkv"][f"relative error of {name}"][1] < 2**-10
    assert found["attention"]["difference of probabilities"][1] < 2**-11 + 1e-6


@pytest.mark.parametrize("backend", ["keras", "pytorch"])
def test_errors_are_those_of_rounding_and_nothing_else(out, examples_dir, teacher_dir, backend):
    if backend == "pytorch":
        pytest.importorskip("transformers")
    found = measured(out, examples_dir, teacher_dir, backend=backend, sample=20)
    assert set(found) == set(FAMILIES)
    check_errors(found)


def test_a_graph_is_audited_by_itself(examples_dir, teacher_dir, tmp_path):
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package)
    model, _ = load_masked_lm(teacher_dir)
    graph = export_onnx(
        model, tmp_path / "graph", tokenizer=load_tokenizer(teacher_dir), hidden_layers=(1,)
    )
    families = {name: FAMILIES[name] for name in ("sparse", "hidden")}
    label(examples_dir, graph, tmp_path / "out", families)
    found = measured(tmp_path / "out", examples_dir, graph, sample=20)
    assert found["sparse"]["KL at T 1, nats"][1] < 2e-5
    assert found["hidden"]["relative error of a state"][1] < 2**-11
    with pytest.raises(UsageError, match="was made with teacher"):
        measured(tmp_path / "out", examples_dir, teacher_dir)


def test_a_page_shows_what_was_measured(out, examples_dir, teacher_dir, tmp_path):
    path = inspect_labels(
        InspectSettings(
            directory=str(out / "sparse"),
            teacher=teacher_dir,  # the examples and the tokenizer lie where the manifest says
            sample=8,
            html=str(tmp_path / "page.html"),
        ),
        say=lambda line: None,
    )
    with open(path, encoding="ascii") as file:
        html = file.read()
    assert "Measured against the teacher on 8 records" in html and "KL at T 4, nats" in html


def test_codec_error_of_a_changed_label_is_its_kl():
    logits = np.array([[4.0, 2.0, 1.0, 0.0]], np.float32)
    signal = SparseSignal(k=2, temperatures=(1.0,))
    fitted, _ = codecs.fit(signal, {}, side=Side())
    stored = codecs.encode(fitted, {"logits": logits}, true_ids=np.zeros(1, int), draws=None)
    stored["logits"] = stored["logits"] + np.array([[0, 1]], np.float16)  # 2 logits apart -> 1
    p = np.exp(logits[0] - np.log(np.exp(logits[0].astype(np.float64)).sum()))
    tail = p[2] + p[3]
    q = np.array([1, np.exp(-1)]) / (1 + np.exp(-1)) * (1 - tail)
    expected = (p[:2] * np.log(p[:2] / q)).sum()
    (error,) = codec_error(codecs.decode(fitted, stored), logits, (1.0,)).values()
    np.testing.assert_allclose(error, [expected], rtol=1e-5)


def test_a_teacher_of_another_folder_is_refused(out, examples_dir, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError):
        measured(out / "sparse", examples_dir, tmp_path)


def test_a_teacher_without_examples_is_refused(out, teacher_dir, make_examples, tmp_path):
    examples = make_examples(tmp_path / "examples", num_rows=8, seed=2)
    label(examples, teacher_dir, tmp_path / "out", {"sparse": FAMILIES["sparse"]})
    shutil.rmtree(examples)
    with pytest.raises(UsageError, match="--teacher needs the examples"):
        measured(tmp_path / "out", "", teacher_dir)


def test_other_examples_are_refused(out, make_examples, teacher_dir, tmp_path):
    other = make_examples(tmp_path / "other", num_rows=60, seed=6)  # equal keys, other ids
    with pytest.raises(UsageError, match="does not go with"):
        measured(out / "sparse", other, teacher_dir)


def test_labels_of_another_input_are_found(out, examples_dir, teacher_dir, monkeypatch):
    monkeypatch.setattr(
        "extract.samples.input_digest", lambda ids, *rest: np.zeros((len(ids), 8), np.uint8)
    )
    with pytest.raises(LimbeckError, match="belongs to another input"):
        measured(out / "sparse", examples_dir, teacher_dir)
