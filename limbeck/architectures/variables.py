"""Names and shapes of the variables that a model of an architecture has. No TensorFlow.

They stand in the order in which the model makes them, under the names of `limbeck.models.names`;
that both are those of the built model is tested for every family and head.
"""

# D hidden, E embedding width, F intermediate, V vocabulary, C outputs of a head

from collections.abc import Iterator

from limbeck.architectures.decoder import DecoderArchitecture
from limbeck.architectures.encoder import EncoderArchitecture

__all__ = [
    "Shapes",
    "body_shapes",
    "classifier_shapes",
    "dense_shapes",
    "language_head_shapes",
    "pooler_shapes",
]

Shapes = dict[str, tuple[int, ...]]
"""Variable -> its shape, in the order in which a model makes them."""


def body_shapes(architecture: EncoderArchitecture | DecoderArchitecture) -> Shapes:
    """The variables of an encoder or a decoder without heads."""
    if isinstance(architecture, EncoderArchitecture):
        return _encoder(architecture)
    return _decoder(architecture)


def language_head_shapes(architecture: EncoderArchitecture | DecoderArchitecture) -> Shapes:
    """Those of the head that predicts tokens; a tied decoder has none."""
    if isinstance(architecture, DecoderArchitecture):
        matrix = (architecture.hidden_dim, architecture.vocab_size)
        return {} if architecture.tied else {"head/kernel": matrix}
    width = architecture.embedding_width
    return {
        "head/output_bias": (architecture.vocab_size,),
        **dense_shapes("head/transform", architecture.hidden_dim, width),
        **_norm("head/norm", width),
    }


def pooler_shapes(architecture: EncoderArchitecture) -> Shapes:
    """Those of the pooler."""
    return dense_shapes("pooler", architecture.hidden_dim, architecture.hidden_dim)


def classifier_shapes(architecture: EncoderArchitecture, name: str, num_labels: int) -> Shapes:
    """Those of a head that classifies rows, with a dense layer of its own where the family has one.

    Args:
      architecture: of the encoder.
      name: before the names of the variables.
      num_labels: C.
    """
    dim = architecture.hidden_dim
    own = {} if architecture.classifies_pooled else dense_shapes(f"{name}/dense", dim, dim)
    return {**dense_shapes(name, dim, num_labels), **own}


def dense_shapes(name: str, dim: int, num_outputs: int, *, has_bias: bool = True) -> Shapes:
    """Kernel and bias of a dense layer; kernels are (input, output)."""
    kernel: Shapes = {f"{name}/kernel": (dim, num_outputs)}
    return {**kernel, f"{name}/bias": (num_outputs,)} if has_bias else kernel


def _encoder(shape: EncoderArchitecture) -> Shapes:
    width, dim = shape.embedding_width, shape.hidden_dim
    stem = "encoder/embeddings"
    rows = {
        "token": shape.vocab_size,
        "position": shape.max_positions + shape.position_offset,
        "segment": shape.type_vocab_size,
    }
    shapes: Shapes = {f"{stem}/{name}": (n, width) for name, n in rows.items() if n}
    if shape.norm_position == "post":
        shapes |= _norm(f"{stem}/norm", width)
    if shape.embedding_dim is not None:
        shapes |= dense_shapes(f"{stem}/projection", width, dim)
    for index in range(shape.num_stored_layers):
        layer = f"encoder/layer_{index}"
        for part, name in _attention_parts(layer):
            shapes |= dense_shapes(part, dim, dim) if name != "norm" else _norm(part, dim)
        inner = f"{layer}/feed_forward"
        shapes |= dense_shapes(f"{inner}/inner", dim, shape.intermediate_dim)
        shapes |= dense_shapes(f"{inner}/outer", shape.intermediate_dim, dim)
        shapes |= _norm(f"{layer}/feed_forward_norm", dim)
    return shapes | (_norm("encoder/final_norm", dim) if shape.norm_position == "pre" else {})


def _decoder(shape: DecoderArchitecture) -> Shapes:
    dim, bias = shape.hidden_dim, shape.has_bias
    kv_dim = shape.num_kv_heads * shape.head_dim
    shapes: Shapes = {"decoder/embeddings/token": (shape.vocab_size, dim)}
    if shape.positions == "learned":
        shapes["decoder/embeddings/position"] = (shape.max_positions, dim)
    for index in range(shape.num_layers):
        layer = f"decoder/layer_{index}"
        for part, name in _attention_parts(layer):
            width = kv_dim if name in ("key", "value") else dim
            shapes |= (
                _decoder_norm(shape, part)
                if name == "norm"
                else dense_shapes(part, dim, width, has_bias=bias)
            )
        shapes |= _feed_forward(shape, f"{layer}/feed_forward")
        shapes |= _decoder_norm(shape, f"{layer}/feed_forward_norm")
    return shapes | _decoder_norm(shape, "decoder/final_norm")


def _attention_parts(layer: str) -> Iterator[tuple[str, str]]:
    """The parts of an attention block with what each is."""
    for name in ("query", "key", "value", "output"):
        yield f"{layer}/attention/{name}", name
    yield f"{layer}/attention_norm", "norm"


def _feed_forward(shape: DecoderArchitecture, name: str) -> Shapes:
    dim, inner = shape.hidden_dim, shape.intermediate_dim
    if shape.gated:  # without biases in every family
        up = {part: (dim, inner) for part in ("gate", "up")}
        return {
            f"{name}/{part}/kernel": size for part, size in {**up, "down": (inner, dim)}.items()
        }
    return {
        **dense_shapes(f"{name}/inner", dim, inner, has_bias=shape.has_bias),
        **dense_shapes(f"{name}/outer", inner, dim, has_bias=shape.has_bias),
    }


def _norm(name: str, dim: int) -> Shapes:
    return {f"{name}/gamma": (dim,), f"{name}/beta": (dim,)}


def _decoder_norm(shape: DecoderArchitecture, name: str) -> Shapes:
    whole = _norm(name, shape.hidden_dim)
    return whole if shape.norm == "layer" else {f"{name}/gamma": (shape.hidden_dim,)}
