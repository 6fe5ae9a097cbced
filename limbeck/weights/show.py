"""A checkpoint in words: its configuration, its cost, and a tree of its parameters."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from limbeck.architectures.hf_config import Architecture
from limbeck.weights.checkpoint import Checkpoint
from limbeck.weights.fingerprint import fingerprint_of
from limbeck.weights.heads import FAMILY_TITLES, HEAD_TITLES, likely_head

__all__ = ["describe", "flops_per_token"]

_NAME_WIDTH = 20
_LENGTH = 128  # tokens that FLOPs are stated for, beside the longest input


def describe(checkpoint: Checkpoint, *, depth: int) -> list[str]:
    """Lines: configuration in our terms, FLOPs, fingerprint, tree, and what is no variable.

    Args:
      checkpoint: that was read.
      depth: levels of the tree to print: 2 sums up a layer, 9 prints every variable.
    """
    shape = checkpoint.architecture
    facts: dict[str, object] = {
        "checkpoint": checkpoint.where,
        "format": checkpoint.kind,
        "model": f"{FAMILY_TITLES[shape.family]} {HEAD_TITLES[likely_head(checkpoint)]}",
        **dataclasses.asdict(shape),
    }
    total = sum(found.values.size for found in checkpoint.found.values())
    facts["parameters"] = f"{total:,}"
    for length in sorted({min(_LENGTH, shape.max_positions), shape.max_positions}):
        facts[f"flops at length {length}"] = (
            f"{flops_per_token(shape, length):,} a token (forward, vocabulary at every token)"
        )
    facts["fingerprint"] = fingerprint_of(checkpoint)
    lines = [f"{name:{_NAME_WIDTH}} {value}" for name, value in facts.items()]
    return [*lines, "", *_tree(checkpoint, total, depth), *_others(checkpoint)]


def flops_per_token(shape: Architecture, length: int) -> int:
    """Forward floating-point operations of one token of a full row of that length."""
    flops = shape.forward_flops(num_tokens=length, seq_length=length, num_logit_positions=length)
    return round(flops / length)


@dataclasses.dataclass
class _Sum:
    """What is below one node of the tree."""

    count: int = 0
    size: int = 0
    leaf: str = ""

    def add(self, values: np.ndarray) -> None:
        self.count += values.size
        self.size += values.nbytes


def _tree(checkpoint: Checkpoint, total: int, depth: int) -> Iterator[str]:
    """Sums of every node, down to a depth; a variable's own line ends with its tensor."""
    sums: dict[str, _Sum] = {}
    for name, found in checkpoint.found.items():
        parts = name.split("/")
        for level in range(min(len(parts), depth) + 1):
            node = sums.setdefault("/".join(parts[:level]), _Sum())
            node.add(found.values)
        if len(parts) <= depth:
            stored = found.values.T if found.transposed else found.values
            node.leaf = f"  {stored.dtype} {list(stored.shape)}  {found.origin}"
    yield f"{'variable':40} {'parameters':>15} {'share':>7} {'bytes':>15}"
    for path in sorted(sums, key=_order):
        node = sums[path]
        indent = "  " * path.count("/") if path else ""
        label = f"{indent}{path.rpartition('/')[2]}" if path else "total"
        share = node.count / max(total, 1)
        yield f"{label:40} {node.count:15,} {share:7.2%} {node.size:15,}{node.leaf}"


def _order(path: str) -> list[tuple[int, str]]:
    """Layers by number, the rest by name."""
    return [
        (int(part.removeprefix("layer_")), "") if part.startswith("layer_") else (-1, part)
        for part in path.split("/")
    ]


def _others(checkpoint: Checkpoint) -> Iterator[str]:
    if checkpoint.others:
        yield ""
    for origin, other in checkpoint.others.items():
        why = other.why or f"unknown to {FAMILY_TITLES[checkpoint.architecture.family]}"
        yield f"{origin}  {other.values.dtype} {list(other.values.shape)}  no variable: {why}"
