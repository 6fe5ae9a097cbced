"""What tests of layers share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from launch.data import data_dir
from limbeck.architectures.hf_config import architecture_from_hf
from limbeck.architectures.hf_families import FAMILIES
from limbeck.models import empty, named_variables
from limbeck.weights.names import Place, table_of

CheckLayer = Callable[..., np.ndarray]


@pytest.fixture
def check_layer() -> CheckLayer:
    """Runs what every layer must do, and returns its output.

    Call as `check_layer(layer, *inputs, output_shape=..., variables=..., **keywords)`:
    built once it has the named variables; eager, compiled, compiled with unknown sizes and XLA
    give the same; every variable gets a finite gradient; two builds have equal names. `read` picks
    the tensor to check from what the layer returns.
    """

    def check(
        layer: keras.layers.Layer,
        *inputs: Any,
        output_shape: tuple[int, ...],
        variables: dict[str, tuple[int, ...]],
        read: Callable[[Any], tf.Tensor] = lambda output: output,
        **keywords: Any,
    ) -> np.ndarray:
        if not layer.built:
            layer.build()
        prefix = f"{layer.name}/"
        named = {v.path.removeprefix(prefix): tuple(v.shape) for v in layer.variables}
        assert named == variables
        rng = np.random.default_rng(0)
        for variable in layer.trainable_variables:
            variable.assign(rng.normal(0, 0.5, variable.shape))
        inputs = tuple(tf.convert_to_tensor(x) for x in inputs)

        def call(*arguments: tf.Tensor) -> tf.Tensor:
            return read(layer(*arguments, **keywords))

        eager = call(*inputs).numpy()
        assert eager.shape == output_shape and np.isfinite(eager).all()
        for compiled in _compilations(call, inputs):
            np.testing.assert_allclose(compiled(*inputs).numpy(), eager, rtol=1e-4, atol=1e-5)
        _check_gradients(layer, call, inputs)
        return eager

    return check


def _compilations(call, inputs):
    unknown = [tf.TensorSpec([None] * (x.shape.rank - 1) + [x.shape[-1]], x.dtype) for x in inputs]
    yield tf.function(call, autograph=False)
    yield tf.function(call, autograph=False, input_signature=unknown)
    yield tf.function(call, autograph=False, jit_compile=True)


def _check_gradients(layer, call, inputs):
    with tf.GradientTape() as tape:
        output = call(*inputs)
        total = tf.reduce_sum(output * tf.cos(tf.range(tf.size(output), dtype=tf.float32))[0])
    values = [variable.value for variable in layer.trainable_variables]
    for variable, gradient in zip(
        layer.trainable_variables, tape.gradient(total, values), strict=True
    ):
        assert gradient is not None, variable.path
        assert np.isfinite(tf.convert_to_tensor(gradient).numpy()).all(), variable.path


TINY = {
    "vocab_size": 97,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
}
# transformers' options of each family, of these sizes; inputs may have 40 tokens in all of them.
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": TINY,
    "megatron-bert": TINY,
    "roberta": {**TINY, "max_position_embeddings": 42, "type_vocab_size": 1, "pad_token_id": 1},
    "xlm-roberta": {**TINY, "max_position_embeddings": 46, "type_vocab_size": 2, "pad_token_id": 5},
    "distilbert": {
        "vocab_size": 97,
        "dim": 16,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 24,
        "max_position_embeddings": 40,
    },
    "electra": {**TINY, "embedding_size": 6},
    "albert": {**TINY, "embedding_size": 6, "num_hidden_layers": 3},
    "gpt2": {
        "vocab_size": 97,
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 2,
        "n_positions": 40,
        "bos_token_id": 0,
        "eos_token_id": 0,
    },
    "llama": {**TINY, "num_attention_heads": 4, "num_key_value_heads": 2},
}


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One of our models and transformers' model with the same weights."""

    ours: Any
    """By `limbeck.models.empty`."""
    theirs: Any
    """A PyTorch model in evaluation mode, with plain attention."""
    places: dict[str, tuple[str, Place]]
    """Our variable -> name of their parameter, and how it lies there."""
    pad_id: int
    """Of padding."""

    def their_value(self, name: str, tensors: Mapping[str, Any]) -> np.ndarray:
        """What their tensors hold for a variable of ours, in our orientation."""
        key, place = self.places[name]
        value = tensors[key].detach().numpy()
        if place.third is not None:
            value = np.split(value, 3, axis=-1)[place.third]
        return value.T if place.transposed else value


@pytest.fixture(scope="session")
def torch() -> Any:
    """PyTorch, of the parity lock; one thread, so that tests beside this one keep their core."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    return torch


@pytest.fixture(scope="session")
def transformers(torch) -> Any:
    """PyTorch transformers, quiet."""
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


@pytest.fixture(scope="session")
def make_peer(torch, transformers) -> Callable[..., Peer]:
    """Makes a pair: `make_peer(family, head, seed=0, **config)`; weights have no symmetry."""

    def make(family: str, head: str, *, seed: int = 0, **changes: Any) -> Peer:
        config = transformers.AutoConfig.for_model(family, **{**CONFIGS[family], **changes})
        config._attn_implementation = "eager"  # the one that returns its probabilities
        torch.manual_seed(seed)
        theirs = getattr(transformers, FAMILIES[family].heads[head])(config).eval()
        _randomise(torch, theirs)
        return _pair(theirs, head)

    return make


@pytest.fixture(scope="session")
def pretrained_peer(transformers) -> Peer:
    """The pretrained encoder of the demo, with its pooler."""
    directory = data_dir() / "all-minilm-l6-v2"
    if not directory.is_dir():
        pytest.skip("the pretrained encoder is not there; run `make setup`")
    theirs = transformers.AutoModel.from_pretrained(directory, attn_implementation="eager")
    return _pair(theirs.eval(), "encoder")


def _pair(theirs: Any, head: str) -> Peer:
    """Our model of theirs, with its weights."""
    architecture = architecture_from_hf(theirs.config.to_dict())
    ours = empty(architecture, head=head, num_labels=theirs.config.num_labels)  # type: ignore[arg-type]
    peer = Peer(
        ours=ours,
        theirs=theirs,
        places=_places(ours, theirs, architecture.family, head),
        pad_id=getattr(architecture, "pad_id", 0),
    )
    tensors = dict(theirs.named_parameters(remove_duplicate=False))
    for name, variable in named_variables(ours).items():
        variable.assign(peer.their_value(name, tensors))
    return peer


def _randomise(torch: Any, model: Any) -> None:
    with torch.no_grad():
        for module in model.modules():
            gain = 1.0 if "Norm" in type(module).__name__ else 0.0
            for name, parameter in module.named_parameters(recurse=False):
                parameter.normal_(gain if name == "weight" else 0.0, 0.15)


def _places(ours: Any, theirs: Any, family: str, head: str) -> dict[str, tuple[str, Place]]:
    table = table_of(family)
    keys = {
        table.canonical(name): name for name, _ in theirs.named_parameters(remove_duplicate=False)
    }
    places = {name: table.place(name, head=head) for name in named_variables(ours)}
    return {name: (keys[place.tensor], place) for name, place in places.items()}
