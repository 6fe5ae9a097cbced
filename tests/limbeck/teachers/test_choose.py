"""Which backend a path is for; nothing here loads a framework."""

import json
import sys

import pytest

from limbeck.config.errors import UsageError
from limbeck.teachers import choose
from limbeck.teachers.choose import choose_backend, find_onnx

BERT = {
    "model_type": "bert",
    "vocab_size": 10,
    "hidden_size": 4,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "intermediate_size": 4,
}


@pytest.fixture
def make(tmp_path):
    """Makes a folder of empty files: `make(config, *names)`."""

    def fill(config, *names):
        if config is not None:
            (tmp_path / "config.json").write_text(json.dumps(config))
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return fill


@pytest.fixture
def everything_is_installed(monkeypatch):
    monkeypatch.setattr(choose, "find_spec", lambda name: object())


CASES = [  # config, files, backend
    (BERT, ("model.safetensors",), "keras"),
    ({**BERT, "model_type": "deberta-v2"}, ("model.safetensors",), "pytorch"),  # not ours
    ({**BERT, "model_type": "deberta-v2"}, ("pytorch_model.bin",), "pytorch"),
    (BERT, ("model.safetensors", "onnx/model.onnx"), "keras"),  # as hubs keep both
    (BERT, ("model.onnx",), "onnx"),
    (BERT, ("onnx/model.onnx",), "onnx"),
    (None, ("model.onnx",), "onnx"),
]


@pytest.mark.usefixtures("everything_is_installed")
@pytest.mark.parametrize(("config", "files", "expected"), CASES)
def test_auto_follows_what_lies_there(make, config, files, expected):
    assert choose_backend(make(config, *files)) == expected


@pytest.mark.usefixtures("everything_is_installed")
def test_file_is_a_graph_by_its_ending(make):
    folder = make(None, "a.onnx", "model.keras")
    assert choose_backend(folder / "a.onnx") == "onnx"
    assert choose_backend(folder / "model.keras") == "keras"


@pytest.mark.usefixtures("everything_is_installed")
@pytest.mark.parametrize("backend", ["keras", "pytorch"])
def test_named_backend_is_taken(make, backend):
    assert choose_backend(make(BERT, "model.safetensors"), backend) == backend


def test_unknown_backend_names_those_there_are(tmp_path):
    with pytest.raises(UsageError, match="backend is 'jax'; known are: auto, keras, pytorch, onnx"):
        choose_backend(tmp_path, "jax")


def test_missing_path_is_refused(tmp_path):
    with pytest.raises(UsageError, match="none: no such teacher"):
        choose_backend(tmp_path / "none")


@pytest.mark.parametrize(
    ("backend", "message"),
    [("onnx", "no .onnx file in it"), ("pytorch", "no config.json in it")],
)
def test_folder_that_the_backend_cannot_read_is_refused(tmp_path, backend, message):
    with pytest.raises(UsageError, match=message):
        choose_backend(tmp_path, backend)


@pytest.mark.parametrize(
    ("backend", "package", "line"),
    [
        (
            "pytorch",
            "torch",
            "needs torch, which is not installed; run: pip install .limbeck.torch",
        ),
        ("onnx", "onnxruntime", "run: pip install .limbeck.onnx"),
    ],
)
def test_missing_extra_gives_the_install_line(make, monkeypatch, backend, package, line):
    monkeypatch.setattr(choose, "find_spec", lambda name: None if name == package else name)
    with pytest.raises(UsageError, match=line):
        choose_backend(make(BERT, "model.onnx"), backend)


def test_one_graph_is_found_and_of_several_the_one_with_the_usual_name(make):
    assert find_onnx(make(None, "onnx/q8.onnx")).name == "q8.onnx"
    assert find_onnx(make(None, "onnx/model.onnx")).name == "model.onnx"


def test_several_graphs_without_the_usual_name_are_refused(make):
    with pytest.raises(UsageError, match=r"2 graphs \(a.onnx, b.onnx\); name one"):
        find_onnx(make(None, "a.onnx", "b.onnx"))


def test_no_framework_is_loaded_to_choose():
    import subprocess

    code = (
        "import sys, limbeck.teachers\n"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'torch', 'onnxruntime')))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
