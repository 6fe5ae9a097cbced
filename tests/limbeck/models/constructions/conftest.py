"""Small teachers, and what a construction computes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from limbeck.architectures import EncoderArchitecture
from limbeck.models.constructions import Construction, begin
from limbeck.models.constructions.model import model_of, named_arrays
from limbeck.models.masked_lm import empty_masked_lm
from limbeck.tokens import SPECIAL_TOKENS

V, T = 61, 9

MakeTeacher = Callable[..., Construction]


@pytest.fixture(scope="session")
def make_teacher() -> MakeTeacher:
    """Makes a teacher whose weights no symmetry hides: `make_teacher(seed=0, **architecture)`."""

    def make(*, seed: int = 0, **changes: Any) -> Construction:
        shape = {
            "vocab_size": V,
            "num_layers": 4,
            "hidden_dim": 24,
            "num_heads": 6,
            "intermediate_dim": 20,
            "max_positions": 12,
        }
        architecture = EncoderArchitecture(**{**shape, **changes})
        rng = np.random.default_rng(seed)
        tensors = {
            name: rng.normal(name.endswith("gamma"), 0.2, value.shape).astype(np.float32)
            for name, value in named_arrays(empty_masked_lm(architecture)).items()
        }
        return begin(architecture, tensors)

    return make


@pytest.fixture(scope="session")
def batch() -> dict[str, np.ndarray]:
    """Two rows, one of them padded."""
    rng = np.random.default_rng(3)
    return {
        "ids": rng.integers(5, V, (2, T)),
        "segment_ids": np.repeat([[0] * 4 + [1] * 5], 2, axis=0),
        "attention_mask": np.array([[1] * T, [1] * 6 + [0] * 3]),
    }


@pytest.fixture(scope="session")
def run(batch) -> Callable[..., tuple[np.ndarray, dict[int, np.ndarray]]]:
    """Computes with the Keras model: `run(made, seed=0, **batch) -> logits, states of layers`."""

    def run(made: Construction, *, seed: int = 0, **changes: Any) -> Any:
        model = model_of(made, seed=seed)
        inputs = {name: tf.constant(v) for name, v in {**batch, **changes}.items()}
        layers = tuple(range(made.architecture.num_layers + 1))
        encoded = model.encode(**inputs, hidden_layers=layers)
        hidden = {layer: states.numpy() for layer, states in encoded.hidden.items()}
        return model.logits(encoded.last).numpy(), hidden

    return run


@pytest.fixture(scope="session")
def vocab_file(tmp_path_factory):
    """A WordPiece vocabulary of V tokens."""
    letters = [chr(ord("a") + i) for i in range(20)]
    words = [*letters, *(f"##{letter}" for letter in letters), "the", "cat", "##at", "sat", "##zz"]
    words += [f"word{i}" for i in range(V - len(SPECIAL_TOKENS) - len(words))]
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join([*SPECIAL_TOKENS, *words]) + "\n")
    return path
