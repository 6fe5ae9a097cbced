"""Tables of names: our variables and the tensors of one family's checkpoints, both ways.

A table's entries are written as in

    "encoder/layer_{i}/attention/query": "encoder.layer.{i}.attention.self.query"

which stands for the kernel (their `.weight`, transposed: PyTorch keeps (output, input)) and the
bias; for a norm, for gamma (`.weight`) and beta (`.bias`). A name of theirs that ends with
`.weight` or `.bias` is one tensor, kept as it is. `[k]` after a name is the k-th third of the
tensor's last axis, where queries, keys and values share one. TensorFlow's names have our leaves
and our orientation; only what it calls `output_weights` is (output, input).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

__all__ = ["NameTable", "Place"]

_LEAVES = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}


class Place(NamedTuple):
    """Where a variable is kept."""

    tensor: str
    """Its name, without the family's prefix."""
    transposed: bool = False
    """Whether the tensor is the variable's transpose."""
    third: int | None = None
    """Which third of the tensor's last axis; None for all of it."""


@dataclass(frozen=True, kw_only=True)
class NameTable:
    """The names of one family."""

    family: str
    """As `architecture.family`."""
    prefix: str
    """Before the names of `body` in a model with a head."""
    body: Mapping[str, str]
    """Encoder or decoder, and pooler."""
    heads: Mapping[str, Mapping[str, str]]
    """Head -> its parts, in transformers' spelling."""
    tied: Mapping[str, str]
    """Tensors that repeat another one: copy -> original."""
    constants: Mapping[str, str]
    """Tensors (regular expressions) that no model of ours needs -> what they are."""
    spellings: tuple[tuple[str, str], ...] = ()
    """Older spellings: regular expression -> replacement."""
    untransposed: str | None = None
    """Start of the tensors that are (input, output) already."""
    tensorflow: Mapping[str, str] | None = None
    """The same in Google's TensorFlow checkpoints; None where there are none."""

    def canonical(self, tensor: str) -> str:
        """A tensor's name in the newest spelling and without the prefix."""
        name = tensor.removeprefix("module.").removeprefix(self.prefix)
        for old, new in self.spellings:
            name = re.sub(old, new, name)
        return name

    def place(self, variable: str, *, head: str) -> Place:
        """Where transformers keeps a variable of a model with that head.

        Raises:
          KeyError: the family has no such variable.
        """
        return _place(variable, {**self.body, **self.heads.get(head, {})}, self.untransposed)

    def is_head(self, variable: str) -> bool:
        """Whether a variable belongs to a head (the pooler does not)."""
        return not variable.startswith(("encoder/", "decoder/", "pooler/"))

    def to_tensors(
        self, variables: Mapping[str, np.ndarray], *, head: str, prefixed: bool = False
    ) -> dict[str, np.ndarray]:
        """Our variables as transformers names and shapes them.

        Args:
          variables: by our names, in our orientation.
          head: of the model.
          prefixed: whether the body's names get the family's prefix, as in a model with a head.

        Raises:
          KeyError: the family has no such variable.
        """
        tensors: dict[str, np.ndarray] = {}
        thirds: dict[str, dict[int, np.ndarray]] = {}
        for name, values in variables.items():
            place = self.place(name, head=head)
            bare = not prefixed or self.is_head(name)
            target = place.tensor if bare else f"{self.prefix}{place.tensor}"
            if place.third is not None:
                thirds.setdefault(target, {})[place.third] = values
            else:
                tensors[target] = values.T if place.transposed else values
        fused = {
            name: np.concatenate([parts[third] for third in sorted(parts)], axis=-1)
            for name, parts in thirds.items()
        }
        return tensors | fused

    def variables_in(self, tensor: str) -> list[tuple[str, Place]]:
        """Our variables that a tensor (canonical name) holds: none, one, or three."""
        return [found for rule in self._rules if (found := rule.match(tensor))]

    def why_constant(self, tensor: str) -> str | None:
        """What a tensor (canonical name) is that no model needs; None where that is unknown."""
        return next((w for regex, w in self.constants.items() if re.fullmatch(regex, tensor)), None)

    def tensorflow_place(self, variable: str) -> Place:
        """Where Google's checkpoints keep a variable.

        Raises:
          KeyError: the family has no such checkpoints, or they no such variable.
        """
        return _tensorflow_place(variable, self.tensorflow or {})

    def tensorflow_variable(self, tensor: str) -> tuple[str, Place] | None:
        """Our variable that a tensor of Google's checkpoints is."""
        return next((found for r in self._tensorflow_rules if (found := r.match(tensor))), None)

    @cached_property
    def _rules(self) -> list["_Rule"]:
        entries = {(ours, theirs) for ours, theirs in self.body.items()}
        for head in self.heads.values():
            entries |= set(head.items())
        return [
            _Rule(variable, _place(variable, {ours: theirs}, self.untransposed))
            for ours, theirs in sorted(entries)
            for variable in _variables(ours, single=theirs.endswith((".weight", ".bias")))
        ]

    @cached_property
    def _tensorflow_rules(self) -> list["_Rule"]:
        entries = sorted((self.tensorflow or {}).items())
        return [
            _Rule(variable, _tensorflow_place(variable, {ours: theirs}))
            for ours, theirs in entries
            for variable in _variables(ours, single=_is_variable(ours))
        ]


class _Rule:
    """One variable (`{i}` for its layer) and its place."""

    def __init__(self, variable: str, place: Place) -> None:
        self._variable = variable
        self._place = place
        self._regex = re.compile(re.escape(place.tensor).replace(r"\{i\}", r"(\d+)"))

    def match(self, tensor: str) -> tuple[str, Place] | None:
        match = self._regex.fullmatch(tensor)
        if match is None:
            return None
        layer = match[1] if match.groups() else ""
        return self._variable.replace("{i}", layer), self._place._replace(tensor=tensor)


def _place(variable: str, parts: Mapping[str, str], untransposed: str | None) -> Place:
    pattern, layer = _without_layer(variable)
    if pattern in parts:
        return Place(parts[pattern].replace("{i}", layer))
    stem, _, leaf = pattern.rpartition("/")
    theirs, third = re.fullmatch(r"([^\[]+)(?:\[(\d)\])?", parts[stem]).groups()  # type: ignore[union-attr]
    straight = untransposed is not None and theirs.startswith(untransposed)
    return Place(
        f"{theirs.replace('{i}', layer)}.{_LEAVES[leaf]}",
        leaf == "kernel" and not straight,
        None if third is None else int(third),
    )


def _tensorflow_place(variable: str, parts: Mapping[str, str]) -> Place:
    pattern, layer = _without_layer(variable)
    stem, _, leaf = pattern.rpartition("/")
    theirs = parts[pattern] if pattern in parts else f"{parts[stem]}/{leaf}"
    return Place(theirs.replace("{i}", layer), theirs.endswith("output_weights"))


def _without_layer(variable: str) -> tuple[str, str]:
    """`encoder/layer_7/x` -> `encoder/layer_{i}/x` and `7`; a pattern stays one."""
    match = re.search(r"/layer_(\d+)/", variable)
    if match is None:
        return variable, "{i}"
    return variable.replace(match[0], "/layer_{i}/", 1), match[1]


def _variables(ours: str, *, single: bool) -> Iterator[str]:
    if single:
        yield ours
        return
    leaves = ("gamma", "beta") if ours.endswith("norm") else ("kernel", "bias")
    yield from (f"{ours}/{leaf}" for leaf in leaves)


def _is_variable(ours: str) -> bool:
    return ours.rpartition("/")[2] in (*_LEAVES, "token", "position", "segment", "output_bias")
