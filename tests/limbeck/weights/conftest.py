"""Model folders that transformers itself has written, in the shapes that tests ask for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TINY = {
    "vocab_size": 97,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
}

WriteFolder = Callable[..., Path]


@pytest.fixture(scope="session")
def torch():
    """PyTorch, of the parity lock; one thread, so that tests beside this one keep their core."""
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
def make_bert(torch, transformers) -> Callable[..., Any]:
    """Makes a transformers model with weights that no symmetry hides: `make_bert(kind, **config)`.

    kind: 'BertForMaskedLM', 'BertForPreTraining' or 'BertModel'.
    """

    def make(kind: str, *, seed: int = 0, **config: Any) -> Any:
        torch.manual_seed(seed)
        model = getattr(transformers, kind)(transformers.BertConfig(**{**TINY, **config})).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.normal_(1.0 if "LayerNorm.weight" in name else 0.0, 0.15)
        return model

    return make


@pytest.fixture(scope="session")
def write_folder(make_bert, tmp_path_factory) -> WriteFolder:
    """Writes such a model as a folder: `write_folder(kind, **config) -> path`."""

    def write(kind: str = "BertForMaskedLM", **config: Any) -> Path:
        directory = tmp_path_factory.mktemp("hf") / "model"
        make_bert(kind, **config).save_pretrained(directory)
        return directory

    return write


@pytest.fixture(scope="session")
def folder(write_folder) -> Path:
    """One with a masked-LM head; read only."""
    return write_folder()


@pytest.fixture(scope="session")
def bare_folder(write_folder) -> Path:
    """The encoder alone, with a pooler, as sentence-transformers publishes them; read only."""
    return write_folder("BertModel")


@pytest.fixture(scope="session")
def vocab_file(tmp_path_factory) -> Path:
    """A WordPiece vocabulary of 97 tokens."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [chr(ord("a") + i) for i in range(26)] + ["##" + chr(ord("a") + i) for i in range(26)]
    words += ["the", "cat", "sat", "##ing", ".", ",", "\u00e9", "\u4e2d"]
    words += [f"word{i}" for i in range(97 - len(special) - len(words))]
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(special + words) + "\n", encoding="utf-8")
    return path
