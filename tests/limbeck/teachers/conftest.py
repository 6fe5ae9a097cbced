"""Teachers that transformers itself has written, as folders and ONNX graphs, and one batch."""

import inspect
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limbeck.teachers import Items, TeacherBatch

VOCAB_SIZE, NUM_LAYERS, HIDDEN_DIM, NUM_TOKENS = 97, 3, 16, 20
_SHAPE = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": HIDDEN_DIM,
    "num_hidden_layers": NUM_LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
}
_DISTIL = {
    "vocab_size": VOCAB_SIZE,
    "dim": HIDDEN_DIM,
    "n_layers": NUM_LAYERS,
    "n_heads": 2,
    "hidden_dim": 24,
    "max_position_embeddings": 40,
}
_GPT2 = {
    "vocab_size": VOCAB_SIZE,
    "n_embd": HIDDEN_DIM,
    "n_layer": NUM_LAYERS,
    "n_head": 2,
    "n_positions": 40,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def _shape_of(kind: str) -> dict[str, Any]:
    if "Distil" in kind:
        return _DISTIL
    if "GPT2" in kind:
        return _GPT2
    if "Roberta" in kind:
        return {**_SHAPE, "type_vocab_size": 1}  # as all that were published
    if "Llama" in kind or "Qwen2" in kind:  # heads of queries share keys and values
        return {**_SHAPE, "num_key_value_heads": 1, "pad_token_id": 0}
    return _SHAPE


@pytest.fixture(scope="session")
def torch():
    """PyTorch; one thread, so that tests beside this one keep their core."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    return torch


@pytest.fixture(scope="session")
def transformers(torch):
    """PyTorch transformers, quiet."""
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


@pytest.fixture(scope="session")
def write_folder(torch, transformers, tmp_path_factory) -> Callable[..., Path]:
    """Writes a model of drawn weights as a folder, once each: `write_folder('BertForMaskedLM')`."""
    written: dict[tuple[Any, ...], Path] = {}

    def write(kind: str, **config: Any) -> Path:
        key = (kind, *sorted(config.items()))
        if key not in written:
            settings = getattr(transformers, kind).config_class
            torch.manual_seed(0)
            shape = {**_shape_of(kind), **config}
            model = getattr(transformers, kind)(settings(**shape)).eval()
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    parameter.normal_(1.0 if "orm.weight" in name else 0.0, 0.15)
            written[key] = tmp_path_factory.mktemp("hf") / kind
            model.save_pretrained(written[key])
        return written[key]

    return write


@pytest.fixture(scope="session")
def write_onnx(torch, transformers, tmp_path_factory) -> Callable[..., Path]:
    """Exports a folder's model with every hidden state: `write_onnx(folder) -> folder`.

    By PyTorch's own exporter, so that the graph is nobody's who reads it here.
    """
    pytest.importorskip("onnx")  # the exporter writes through it
    written: dict[Path, Path] = {}

    def write(folder: Path) -> Path:
        if folder not in written:
            written[folder] = tmp_path_factory.mktemp("onnx")
            shutil.copy(folder / "config.json", written[folder])
            _export(torch, transformers, folder, written[folder] / "model.onnx")
        return written[folder]

    return write


def _export(torch: Any, transformers: Any, folder: Path, path: Path) -> None:
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder, attn_implementation="eager")
    takes = inspect.signature(model.forward).parameters
    names = [n for n in ("input_ids", "attention_mask", "token_type_ids") if n in takes]
    if model.config.model_type == "roberta":
        names.remove("token_type_ids")

    class Answer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, *arrays):
            inputs = dict(zip(names, arrays, strict=True))
            output = self.model(**inputs, output_hidden_states=True)
            return output.logits, *output.hidden_states

    outputs = ["logits", *(f"hidden_states.{i}" for i in range(NUM_LAYERS + 1))]
    example = tuple(torch.ones(2, 7, dtype=torch.long) for _ in names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that runs here is the old one, and says so
        torch.onnx.export(
            Answer().eval(),
            example,
            str(path),
            input_names=names,
            output_names=outputs,
            dynamic_axes={name: {0: "batch", 1: "length"} for name in [*names, *outputs]},
            dynamo=False,
        )


@pytest.fixture(scope="session")
def batch() -> TeacherBatch:
    """Three rows of 20, 13 and 4 tokens, of which the last is filling; and where to answer."""
    rng = np.random.default_rng(0)
    tokens = np.arange(NUM_TOKENS)
    mask = (tokens < np.array([20, 13, 4])[:, None]).astype(np.int32)
    ids = (rng.integers(5, VOCAB_SIZE, mask.shape) * mask).astype(np.int32)
    real = np.flatnonzero(mask[:2]).astype(np.int32)
    masked = np.array([1, 4, 8, NUM_TOKENS + 2], np.int32)
    return TeacherBatch(
        ids=ids,
        segment_ids=((tokens >= 4) * mask).astype(np.int32),
        attention_mask=mask,
        items={
            "masked": Items(index=masked, true_ids=np.array([7, 9, 29, 5], np.int32)),
            "all": Items(index=real, true_ids=np.zeros(len(real), np.int32)),
            "first": Items(
                index=np.array([0, NUM_TOKENS], np.int32), true_ids=np.zeros(2, np.int32)
            ),
        },
    )
