"""Transformers as ONNX nodes, from an architecture and its variables.

The nodes say what `limbeck.models` computes in float32 without dropout; `onnx` is imported when a
graph is made. Operators are of opset 20, which has Gelu and LayerNormalization.
"""

# B rows, T tokens, D hidden, E embedding width, H heads of queries, K of keys and values, A = D / H

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from limbeck.architectures.decoder import DecoderArchitecture
from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.architectures.hf_config import Architecture
from limbeck.config.errors import UsageError

__all__ = ["OPSET", "Nodes", "require_onnx", "transformer"]

OPSET = 20
_NEVER = -1e9  # as limbeck.models.attention adds to scores that a query must not see


def require_onnx() -> Any:
    """The package `onnx`.

    Raises:
      UsageError: it is not installed; with the line that installs it.
    """
    try:
        import onnx
    except ImportError:
        raise UsageError(
            "ONNX needs the package onnx, which is not installed: pip install 'limbeck[onnx]'"
        ) from None
    return onnx


class Nodes:
    """Collects nodes and constants; values are names.

    Args:
      variables: of the model, by name.
    """

    def __init__(self, variables: Mapping[str, np.ndarray]) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self._variables = variables

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Adds a node with one output and returns the output's name."""
        output = name or f"{kind}_{len(self.nodes)}"
        helper = require_onnx().helper
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """A constant that is not a variable; equal ones are kept once."""
        array = np.asarray(value, dtype)
        name = f"{array.dtype}:{array.tolist()}"
        self.constants[name] = array
        return name

    def variable(self, name: str) -> str:
        """A variable of the model."""
        self.constants.setdefault(name, np.ascontiguousarray(self._variables[name]))
        return name

    def has(self, name: str) -> bool:
        """Whether the model has a variable."""
        return name in self._variables

    def dense(self, x: str, path: str, activation: str | None = None) -> str:
        """x W + b and an activation, as limbeck.models.basic.Dense."""
        y = self.op("MatMul", x, self.variable(f"{path}/kernel"))
        if self.has(f"{path}/bias"):
            y = self.op("Add", y, self.variable(f"{path}/bias"))
        return y if activation is None else self.activate(y, activation)

    def activate(self, x: str, activation: str) -> str:
        """As limbeck.models.basic.activate, and tanh."""
        match activation:
            case "gelu":
                return self.op("Gelu", x, approximate="none")
            case "gelu_tanh":
                return self.op("Gelu", x, approximate="tanh")
            case "silu":
                return self.op("Mul", x, self.op("Sigmoid", x))
            case "tanh":
                return self.op("Tanh", x)
        return self.op("Relu", x)

    def norm(self, x: str, path: str, *, epsilon: float, rms: bool = False) -> str:
        """Layer norm, or the root-mean-square norm."""
        gamma = self.variable(f"{path}/gamma")
        if not rms:
            beta = self.variable(f"{path}/beta")
            return self.op("LayerNormalization", x, gamma, beta, axis=-1, epsilon=epsilon)
        square = self.op("Mul", x, x)
        mean = self.op("ReduceMean", square, self.constant([-1], np.int64), keepdims=1)
        root = self.op("Sqrt", self.op("Add", mean, self.constant(epsilon)))
        return self.op("Mul", self.op("Div", x, root), gamma)

    def to_shape(self, x: str, *sizes: int) -> str:
        """Reshapes; 0 keeps an axis, -1 is what is left."""
        return self.op("Reshape", x, self.constant(sizes, np.int64))

    def axis(self, x: str, axis: int) -> str:
        """The size of an axis, as a scalar."""
        shape = self.op("Shape", x)
        return self.op("Gather", shape, self.constant(axis, np.int64), axis=0)

    def first_tokens(self, states: str) -> str:
        """(B, T, D) -> (B, D)."""
        return self.op("Gather", states, self.constant(0, np.int64), axis=1)

    def take(self, x: str, index: int) -> str:
        """One component of the last axis."""
        return self.op("Gather", x, self.constant(index, np.int64), axis=-1)


def transformer(nodes: Nodes, shape: Architecture) -> dict[int, str]:
    """Adds embeddings and layers.

    The graph's inputs are `input_ids`, `attention_mask` and, with two or more segments,
    `token_type_ids`.

    Returns:
      Layer -> its states (B, T, D), as transformers' `hidden_states`: 0 is the embeddings.
    """
    if isinstance(shape, EncoderArchitecture):
        states = _encoder_input(nodes, shape)
    else:
        states = _decoder_input(nodes, shape)
    layer = _Layer(nodes, shape)
    hidden = {0: states}
    for number in range(1, shape.num_layers + 1):
        states = layer.apply(states, number - 1)
        if number == shape.num_layers and layer.pre:
            states = layer.norm(states, f"{layer.body}/final_norm")
        hidden[number] = states
    return hidden


def _encoder_input(nodes: Nodes, shape: EncoderArchitecture) -> str:
    path = "encoder/embeddings"
    states = nodes.op("Gather", nodes.variable(f"{path}/token"), "input_ids")
    states = nodes.op("Add", states, _positions(nodes, shape, path))
    if shape.type_vocab_size == 1:
        first = nodes.op("Gather", nodes.variable(f"{path}/segment"), nodes.constant(0, np.int64))
        states = nodes.op("Add", states, first)
    elif shape.type_vocab_size:
        segments = nodes.op("Gather", nodes.variable(f"{path}/segment"), "token_type_ids")
        states = nodes.op("Add", states, segments)
    if shape.norm_position == "post":
        states = nodes.norm(states, f"{path}/norm", epsilon=shape.layer_norm_epsilon)
    return states if shape.embedding_dim is None else nodes.dense(states, f"{path}/projection")


def _positions(nodes: Nodes, shape: EncoderArchitecture, path: str) -> str:
    table = nodes.variable(f"{path}/position")
    if not shape.position_offset:
        return nodes.op("Gather", table, _range(nodes))
    # As transformers: the n-th real token takes row pad_id + n, padding takes row pad_id.
    pad = nodes.constant(shape.pad_id, np.int64)
    padding = nodes.op("Equal", "input_ids", pad)
    real = nodes.op("Cast", nodes.op("Not", padding), to=_int64())
    counts = nodes.op("CumSum", real, nodes.constant(1, np.int64))
    return nodes.op("Gather", table, nodes.op("Add", nodes.op("Mul", counts, real), pad))


def _decoder_input(nodes: Nodes, shape: DecoderArchitecture) -> str:
    states = nodes.op("Gather", nodes.variable("decoder/embeddings/token"), "input_ids")
    if shape.positions == "rotary":
        return states
    table = nodes.variable("decoder/embeddings/position")
    return nodes.op("Add", states, nodes.op("Gather", table, _range(nodes)))


def _range(nodes: Nodes) -> str:
    """(T,) int64, 0 to T - 1."""
    zero, one = nodes.constant(0, np.int64), nodes.constant(1, np.int64)
    return nodes.op("Range", zero, nodes.axis("input_ids", 1), one)


def _int64() -> int:
    return int(require_onnx().TensorProto.INT64)


class _Layer:
    """The layers of one model; masks and rotations are made once."""

    def __init__(self, nodes: Nodes, shape: Architecture) -> None:
        self.nodes, self.shape = nodes, shape
        self.causal = isinstance(shape, DecoderArchitecture)
        self.body = "decoder" if self.causal else "encoder"
        self.pre = self.causal or shape.norm_position == "pre"  # type: ignore[union-attr]
        self.gated = getattr(shape, "gated", False)
        self.num_kv_heads = getattr(shape, "num_kv_heads", shape.num_heads)
        self.bias = self._bias()
        rotary = getattr(shape, "positions", "learned") == "rotary"
        self.rotation = self._rotation() if rotary else None

    def norm(self, x: str, path: str) -> str:
        rms = getattr(self.shape, "norm", "layer") == "rms"
        epsilon = getattr(self.shape, "norm_epsilon", None) or self.shape.layer_norm_epsilon  # type: ignore[union-attr]
        return self.nodes.norm(x, path, epsilon=epsilon, rms=rms)

    def apply(self, x: str, index: int) -> str:
        """One layer, as limbeck.models.layer.TransformerLayer."""
        stored = 0 if getattr(self.shape, "shared_layers", False) else index
        path = f"{self.body}/layer_{stored}"
        norms = f"{path}/attention_norm", f"{path}/feed_forward_norm"
        for block, norm in zip((self._attend, self._feed_forward), norms, strict=True):
            done = block(self.norm(x, norm) if self.pre else x, path)
            x = self.nodes.op("Add", x, done)
            x = x if self.pre else self.norm(x, norm)
        return x

    def _attend(self, x: str, path: str) -> str:
        nodes, shape = self.nodes, self.shape
        query = self._split(nodes.dense(x, f"{path}/attention/query"), shape.num_heads)
        key = self._split(nodes.dense(x, f"{path}/attention/key"), self.num_kv_heads)
        value = self._split(nodes.dense(x, f"{path}/attention/value"), self.num_kv_heads)
        if self.rotation is not None:
            query, key = self._rotate(query), self._rotate(key)
        key, value = self._for_every_query(key), self._for_every_query(value)
        products = nodes.op("MatMul", query, nodes.op("Transpose", key, perm=[0, 1, 3, 2]))
        scores = nodes.op("Mul", products, nodes.constant(1.0 / math.sqrt(shape.head_dim)))
        weights = nodes.op("Softmax", nodes.op("Add", scores, self.bias), axis=-1)
        context = nodes.op("Transpose", nodes.op("MatMul", weights, value), perm=[0, 2, 1, 3])
        return nodes.dense(nodes.to_shape(context, 0, 0, -1), f"{path}/attention/output")

    def _feed_forward(self, x: str, path: str) -> str:
        nodes, activation = self.nodes, self.shape.activation
        if not self.gated:
            inner = nodes.dense(x, f"{path}/feed_forward/inner", activation)
            return nodes.dense(inner, f"{path}/feed_forward/outer")
        gate = nodes.dense(x, f"{path}/feed_forward/gate", activation)
        product = nodes.op("Mul", gate, nodes.dense(x, f"{path}/feed_forward/up"))
        return nodes.dense(product, f"{path}/feed_forward/down")

    def _split(self, x: str, num_heads: int) -> str:
        """(B, T, heads A) -> (B, heads, T, A)."""
        apart = self.nodes.to_shape(x, 0, 0, num_heads, self.shape.head_dim)
        return self.nodes.op("Transpose", apart, perm=[0, 2, 1, 3])

    def _for_every_query(self, x: str) -> str:
        """(B, K, T, A) -> (B, H, T, A): every head H / K times."""
        repeats = self.shape.num_heads // self.num_kv_heads
        if repeats == 1:
            return x
        heads = np.repeat(np.arange(self.num_kv_heads), repeats)
        return self.nodes.op("Gather", x, self.nodes.constant(heads, np.int64), axis=1)

    def _bias(self) -> str:
        """(B, 1, 1, T) or, of decoders, (B, 1, T, T)."""
        nodes = self.nodes
        real = nodes.op("Cast", "attention_mask", to=int(require_onnx().TensorProto.FLOAT))
        padded = nodes.op("Sub", nodes.constant(1.0), real)
        padded = nodes.op("Unsqueeze", padded, nodes.constant([1, 2], np.int64))
        bias = nodes.op("Mul", padded, nodes.constant(_NEVER))
        if not self.causal:
            return bias
        places = _range(nodes)
        queries = nodes.op("Unsqueeze", places, nodes.constant([1], np.int64))
        later = nodes.op("Less", queries, places)
        ahead = nodes.op("Where", later, nodes.constant(_NEVER), nodes.constant(0.0))
        return nodes.op("Add", bias, ahead)

    def _rotation(self) -> tuple[str, str]:
        """cos and sin (T, A), as limbeck.models.rotary."""
        nodes, shape = self.nodes, self.shape
        assert isinstance(shape, DecoderArchitecture)
        exponents = np.arange(0, shape.head_dim, 2, dtype=np.float32) / shape.head_dim
        frequencies = 1.0 / np.float32(shape.rope_theta) ** exponents
        places = nodes.op("Cast", _range(nodes), to=int(require_onnx().TensorProto.FLOAT))
        places = nodes.op("Unsqueeze", places, nodes.constant([1], np.int64))
        angles = nodes.op("Mul", places, nodes.constant(np.tile(frequencies, 2)))
        return nodes.op("Cos", angles), nodes.op("Sin", angles)

    def _rotate(self, x: str) -> str:
        assert self.rotation is not None
        nodes, half = self.nodes, self.shape.head_dim // 2
        last, zero = nodes.constant([-1], np.int64), nodes.constant([0], np.int64)
        middle, end = nodes.constant([half], np.int64), nodes.constant([2 * half], np.int64)
        first = nodes.op("Slice", x, zero, middle, last)
        second = nodes.op("Neg", nodes.op("Slice", x, middle, end, last))
        turned = nodes.op("Concat", second, first, axis=-1)
        cos, sin = self.rotation
        return nodes.op("Add", nodes.op("Mul", x, cos), nodes.op("Mul", turned, sin))
