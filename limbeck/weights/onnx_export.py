"""Models as ONNX graphs of open batch and length, which ONNX Runtime and others run."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.architectures.hf_config import hf_config_of, nearest_hf
from limbeck.config.errors import UsageError
from limbeck.models.names import named_variables
from limbeck.records.files import atomic_write
from limbeck.tokens.tokenizer import Tokenizer
from limbeck.weights.export import check_tokenizer, publish_folder, write_tokenizer
from limbeck.weights.heads import head_of, num_labels_of
from limbeck.weights.hf_folder import CONFIG_NAME
from limbeck.weights.onnx_layers import OPSET, Nodes, require_onnx, transformer

__all__ = ["GRAPH_NAME", "export_onnx", "onnx_model"]

GRAPH_NAME = "model.onnx"
"""The graph's file; beside it stand `config.json` and the tokenizer's files."""

_ONE_FILE_BYTES = 1 << 30  # protobuf ends at 2 GiB; above this the weights get a file of their own
_SHAPES = {
    "logits": ("batch", "sequence", None),
    "prediction_logits": ("batch", "sequence", None),
    "seq_relationship_logits": ("batch", None),
    "start_logits": ("batch", "sequence"),
    "end_logits": ("batch", "sequence"),
}
_AFTER_DENSE = {"roberta": "tanh", "xlm-roberta": "tanh", "electra": "gelu", "distilbert": "relu"}


def export_onnx(
    model: Any,
    directory: str | os.PathLike[str],
    *,
    tokenizer: Tokenizer | None,
    hidden_layers: Sequence[int] = (),
    one_file_bytes: int = _ONE_FILE_BYTES,
) -> Path:
    """Writes `model.onnx`, `config.json` and the tokenizer's files.

    The folder appears whole or not at all; see `export_hf`.

    Args:
      model: of `limbeck.models.build`, with any head.
      directory: to make.
      tokenizer: the model's; None leaves it out.
      hidden_layers: whose states the graph gives too, as `hidden_states.N`; 0 is the embeddings.
      one_file_bytes: with more weights than this they are in `model.onnx.data`.

    Raises:
      UsageError: the package onnx is missing, or the folder holds something else.
    """
    graph = onnx_model(model, hidden_layers=hidden_layers)
    config = hf_config_of(
        nearest_hf(model.architecture), head=head_of(model), num_labels=num_labels_of(model)
    )
    check_tokenizer(model, tokenizer)
    onnx = require_onnx()
    apart = sum(tensor.ByteSize() for tensor in graph.graph.initializer) > one_file_bytes

    def write(staging: Path) -> None:
        text = json.dumps(config, indent=2, sort_keys=True) + "\n"
        atomic_write(staging / CONFIG_NAME, text.encode())
        onnx.save_model(
            graph,
            str(staging / GRAPH_NAME),
            save_as_external_data=apart,
            all_tensors_to_one_file=True,
            location=f"{GRAPH_NAME}.data",
        )
        for path in staging.glob(f"{GRAPH_NAME}*"):
            _fsync(path)
        if tokenizer is not None:
            write_tokenizer(tokenizer, staging, max_positions=model.architecture.max_positions)

    return publish_folder(directory, write)


def onnx_model(model: Any, *, hidden_layers: Sequence[int] = ()) -> Any:
    """Makes the graph, checked by onnx, in float32.

    Inputs are int64 (batch, sequence): `input_ids`, `attention_mask` and, where there are two or
    more segments, `token_type_ids`. Outputs are named as transformers names them.

    Returns:
      An `onnx.ModelProto`.

    Raises:
      UsageError: the package onnx is missing, or a layer that the model does not have.
    """
    onnx = require_onnx()
    shape, head = model.architecture, head_of(model)
    for layer in hidden_layers:
        if not 0 <= layer <= shape.num_layers:
            raise UsageError(
                f"hidden layer {layer}: there are 0 (embeddings) to {shape.num_layers}"
            )
    values = {n: np.asarray(v, np.float32) for n, v in named_variables(model).items()}
    nodes = Nodes(values)
    hidden = transformer(nodes, shape)
    outputs = _HEADS[head](nodes, model, hidden[shape.num_layers])
    outputs |= {f"hidden_states.{n}": hidden[n] for n in hidden_layers}
    for name, value in outputs.items():
        nodes.op("Identity", value, name=name)
    helper, types = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        nodes.nodes,
        f"limbeck_{shape.family}_{head}",
        [
            helper.make_tensor_value_info(name, types.INT64, ("batch", "sequence"))
            for name in _inputs(shape)
        ],
        [
            helper.make_tensor_value_info(name, types.FLOAT, _output_shape(name, model))
            for name in outputs
        ],
        [onnx.numpy_helper.from_array(array, name) for name, array in nodes.constants.items()],
    )
    made = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=9,  # of opset 20
        producer_name="limbeck",
    )
    if made.ByteSize() < _ONE_FILE_BYTES:  # the checker wants one text of less than 2 GiB
        onnx.checker.check_model(made)
    return made


def _inputs(shape: Any) -> list[str]:
    segments = isinstance(shape, EncoderArchitecture) and shape.type_vocab_size > 1
    return ["input_ids", "attention_mask", *(["token_type_ids"] if segments else [])]


def _output_shape(name: str, model: Any) -> tuple[str | int | None, ...]:
    shape, head = model.architecture, head_of(model)
    if name.startswith(("hidden_states", "last_hidden")):
        return ("batch", "sequence", shape.hidden_dim)
    if name == "pooler_output":
        return ("batch", shape.hidden_dim)
    if name == "logits" and head == "replaced_token":
        return ("batch", "sequence")
    if name == "logits" and head in ("classifier", "next_sentence"):
        return ("batch", num_labels_of(model) or 2)
    width = {"token_classifier": num_labels_of(model)}.get(head, shape.vocab_size)
    if name == "seq_relationship_logits":
        width = 2
    return tuple(width if size is None else size for size in _SHAPES[name])


def _alone(nodes: Nodes, model: Any, last: str) -> dict[str, str]:
    outputs = {"last_hidden_state": last}
    if nodes.has("pooler/kernel"):
        outputs["pooler_output"] = _pooled(nodes, last)
    return outputs


def _masked(nodes: Nodes, model: Any, last: str) -> str:
    shape = model.architecture
    x = nodes.dense(last, "head/transform", shape.head_activation)
    x = nodes.norm(x, "head/norm", epsilon=shape.layer_norm_epsilon)
    matrix = nodes.op("Transpose", nodes.variable("encoder/embeddings/token"), perm=[1, 0])
    return nodes.op("Add", nodes.op("MatMul", x, matrix), nodes.variable("head/output_bias"))


def _causal_lm(nodes: Nodes, model: Any, last: str) -> dict[str, str]:
    if nodes.has("head/kernel"):
        matrix = nodes.variable("head/kernel")
    else:
        matrix = nodes.op("Transpose", nodes.variable("decoder/embeddings/token"), perm=[1, 0])
    return {"logits": nodes.op("MatMul", last, matrix)}


def _pooled(nodes: Nodes, last: str) -> str:
    return nodes.dense(nodes.first_tokens(last), "pooler", "tanh")


def _classifier(nodes: Nodes, model: Any, last: str) -> dict[str, str]:
    if nodes.has("pooler/kernel"):
        state = _pooled(nodes, last)
    else:
        activation = _AFTER_DENSE[model.architecture.family]
        state = nodes.dense(nodes.first_tokens(last), "classifier/dense", activation)
    return {"logits": nodes.dense(state, "classifier")}


def _question_answering(nodes: Nodes, model: Any, last: str) -> dict[str, str]:
    logits = nodes.dense(last, "span")
    return {"start_logits": nodes.take(logits, 0), "end_logits": nodes.take(logits, 1)}


def _pretraining(nodes: Nodes, model: Any, last: str) -> dict[str, str]:
    return {
        "prediction_logits": _masked(nodes, model, last),
        "seq_relationship_logits": nodes.dense(_pooled(nodes, last), "next_sentence"),
    }


def _replaced_token(nodes: Nodes, model: Any, last: str) -> dict[str, str]:
    dense = nodes.dense(last, "replaced/dense", model.architecture.activation)
    return {"logits": nodes.take(nodes.dense(dense, "replaced/output"), 0)}


_HEADS: dict[str, Callable[[Nodes, Any, str], dict[str, str]]] = {
    "encoder": _alone,
    "decoder": _alone,
    "masked_lm": lambda nodes, model, last: {"logits": _masked(nodes, model, last)},
    "causal_lm": _causal_lm,
    "classifier": _classifier,
    "token_classifier": lambda nodes, _, last: {"logits": nodes.dense(last, "classifier")},
    "question_answering": _question_answering,
    "next_sentence": lambda nodes, _, last: {
        "logits": nodes.dense(_pooled(nodes, last), "next_sentence")
    },
    "pretraining": _pretraining,
    "replaced_token": _replaced_token,
}


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
