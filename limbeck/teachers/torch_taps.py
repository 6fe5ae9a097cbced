"""Inside a model of transformers: its Q, K and V projections, its head alone, its decoder matrix.

All by PyTorch's hooks, so that any family serves whose layers name these parts as usual.
"""

# B rows, T tokens, M chosen positions, D hidden, E what the decoder multiplies, V vocabulary

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

__all__ = [
    "Projections",
    "Tapped",
    "body_of",
    "decoder_input",
    "decoder_of",
    "find_projections",
    "head_alone",
    "tapped",
]

_NAMES = (
    ("query", "key", "value"),
    ("q_proj", "k_proj", "v_proj"),
    ("q_lin", "k_lin", "v_lin"),
    ("query_proj", "key_proj", "value_proj"),
    ("q", "k", "v"),
)
_FUSED = "c_attn"  # GPT-2's: queries, keys and values side by side


@dataclass(frozen=True, kw_only=True)
class Projections:
    """The projections of every layer; one entry for a layer that is applied again and again."""

    modules: tuple[tuple[Any, ...], ...]
    """(query, key, value) of a layer, or the one module that gives all three."""
    widths: tuple[int, int]
    """Of the queries; of the keys and values."""


@dataclass(frozen=True, kw_only=True)
class Tapped:
    """What passed through the projections of the layers that were asked for."""

    inputs: dict[int, torch.Tensor] = field(default_factory=dict)
    """Layer -> (B, T, D): what the projections multiply."""
    qkv: dict[int, dict[int, torch.Tensor]] = field(default_factory=dict)
    """Layer -> 0: queries, 1: keys, 2: values; each (B, T, width)."""


def body_of(model: Any) -> Any:
    """The model without its head; itself where it has none."""
    return model.base_model


def find_projections(body: Any, num_layers: int) -> Projections | None:
    """The projections of a body's layers; None where they are not found for each of them."""
    found: list[tuple[Any, ...]] = []
    for _, module in body.named_modules():
        children = dict(module.named_children())
        names = next((n for n in _NAMES if all(_is_linear(children.get(x)) for x in n)), None)
        if names is not None:
            found.append(tuple(children[name] for name in names))
        elif _FUSED in children and not _is_linear(children[_FUSED]):
            found.append((children[_FUSED],))
    if not found or len(found) not in (1, num_layers):
        return None
    widths = _widths(found[0])
    return None if widths is None else Projections(modules=tuple(found), widths=widths)


@contextlib.contextmanager
def tapped(
    projections: Projections | None, *, inputs: tuple[int, ...], qkv: tuple[int, ...]
) -> Iterator[Tapped]:
    """While open, keeps what passes through the projections of these layers."""
    kept = Tapped()
    handles: list[Any] = []
    if projections is not None and (inputs or qkv):
        for index, modules in enumerate(projections.modules):
            shared = len(projections.modules) == 1
            handles += _hooks(modules, kept, inputs, qkv, first=index + 1, counts=shared)
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def _hooks(
    modules: tuple[Any, ...],
    kept: Tapped,
    inputs: tuple[int, ...],
    qkv: tuple[int, ...],
    *,
    first: int,
    counts: bool,
) -> list[Any]:
    """Hooks of one layer; with `counts`, its n-th application is layer n."""
    calls = [0] * len(modules)

    def hook(part: int) -> Callable[..., None]:
        def keep(_module: Any, given: Any, output: torch.Tensor) -> None:
            layer = first + calls[part]
            calls[part] += 1
            if calls[part] > 1 and not counts:
                return  # called again for something else, as DeBERTa does for its distances
            if part == 0 and layer in inputs:
                kept.inputs[layer] = given[0]
            if layer in qkv:
                outputs = output.chunk(3, dim=-1) if len(modules) == 1 else (output,)
                kept.qkv.setdefault(layer, {}).update(enumerate(outputs, start=part))

        return keep

    return [module.register_forward_hook(hook(part)) for part, module in enumerate(modules)]


@contextlib.contextmanager
def head_alone(body: Any, output: Any, states: torch.Tensor) -> Iterator[None]:
    """While open, `body` does not run: it gives `output` with these states as one row.

    Args:
      body: of a model whose head is to run.
      output: what the body gave.
      states: (M, D) last states that the head is to see.
    """
    kept = {name: output.get(name) for name in output if name == "pooler_output"}
    given = type(output)(last_hidden_state=states[None], **kept)
    body.forward = lambda *_args, **_kwargs: given
    try:
        yield
    finally:
        del body.forward


@contextlib.contextmanager
def decoder_input(model: Any) -> Iterator[list[torch.Tensor]]:
    """While open, keeps what the decoder matrix multiplies."""
    kept: list[torch.Tensor] = []
    handle = decoder_of(model).register_forward_pre_hook(
        lambda _module, given: kept.append(given[0])
    )
    try:
        yield kept
    finally:
        handle.remove()


def decoder_of(model: Any) -> Any:
    """The linear layer onto the vocabulary; None where there is none."""
    found = model.get_output_embeddings()
    return found if isinstance(found, torch.nn.Linear) else None


def _is_linear(module: Any) -> bool:
    return isinstance(module, torch.nn.Linear)


def _widths(modules: tuple[Any, ...]) -> tuple[int, int] | None:
    if len(modules) == 3:
        return modules[0].out_features, modules[1].out_features
    weight = getattr(modules[0], "weight", None)  # of transformers' Conv1D: (D, 3 D)
    if weight is None or weight.ndim != 2 or weight.shape[1] != 3 * weight.shape[0]:
        return None
    return weight.shape[0], weight.shape[0]
