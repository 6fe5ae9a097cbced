"""How a vector of a teacher is stored: int8, bfloat16, float16 or float32.

Arrays, with N positions:

    states    (N, D)  int8, uint16 (the bits of a bfloat16), float16 or float32
    scales    (N,)    float32, with int8 only: the largest component over 127; NaN marks a position
                      that had a component that is not finite
    outliers  (N, O)  float16, with int8 only, where there are outlier channels: those channels,
                      which count neither for the scale nor in `states` (0 there)

The arithmetic is of operations that IEEE 754 rounds exactly, so that every twin gives equal bits:
the scale is a product with a constant (compilers rewrite a division by one), values are divided by
it and rounded half to even. What float32 cannot hold as a normal number is 0, since accelerators
flush it; a position whose largest component is below 1e-30 is stored as zeros.
"""

# N positions, D width, O outlier channels

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

__all__ = ["LEAST", "ONE_127TH", "SMALLEST_NORMAL", "Settled", "decode", "encode", "first_fault"]

ONE_127TH = float(np.float32(1.0 / 127.0))
LEAST = 1e-30
SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)

Codec = Literal["int8", "bfloat16", "float16", "float32"]


@dataclass(frozen=True, kw_only=True)
class Settled:
    """How a family stores its states, with nothing left open."""

    codec: Codec
    """How a component is stored."""
    outliers: tuple[int, ...] = ()
    """Channels that int8 keeps in float16, ascending."""

    @property
    def name(self) -> str:
        """`int8+2` for two outlier channels; else the codec."""
        return f"{self.codec}+{len(self.outliers)}" if self.outliers else self.codec

    @classmethod
    def of(cls, codec: str, chosen: Mapping[str, Any]) -> "Settled":
        """What a signal declares, or what was chosen for it."""
        named: Any = chosen.get("codec", codec)
        if named not in ("int8", "bfloat16", "float16", "float32"):
            raise ValueError(f"codec is {named}; fit it on a sample of states first")
        return cls(codec=named, outliers=tuple(chosen.get("outliers", ())))


def encode(states: np.ndarray, settled: Settled) -> dict[str, np.ndarray]:
    """Encodes (N, D) float32; what does not fit becomes a mark that `first_fault` finds."""
    states = np.asarray(states, np.float32)
    if settled.codec == "int8":
        return _encode_int8(states, list(settled.outliers))
    with np.errstate(over="ignore", invalid="ignore"):
        if settled.codec == "bfloat16":
            return {"states": _to_bfloat16(_without_subnormals(states))}
        if settled.codec == "float16":
            return {"states": _without_subnormals(states).astype(np.float16)}
    return {"states": states}


def decode(arrays: Mapping[str, np.ndarray], settled: Settled) -> np.ndarray:
    """States (..., D) float32 from encoded arrays of any leading shape."""
    states = arrays["states"]
    if settled.codec == "bfloat16":
        return (states.astype(np.uint32) << 16).view(np.float32)
    if settled.codec != "int8":
        return states.astype(np.float32)
    decoded = states.astype(np.float32) * arrays["scales"].astype(np.float32)[..., None]
    if settled.outliers:
        decoded[..., list(settled.outliers)] = arrays["outliers"].astype(np.float32)
    return decoded


def first_fault(arrays: Mapping[str, np.ndarray], settled: Settled) -> tuple[int, str] | None:
    """The first position whose state is not finite as it is stored, and what is wrong with it."""
    stored, dtype = arrays["states"], str(settled.codec)
    if settled.codec == "int8":
        bad = ~(np.isfinite(arrays["scales"]) & (arrays["scales"] >= 0.0))
        if bad.any():
            return int(np.argmax(bad)), "has a component that is not finite"
        if not settled.outliers:
            return None
        stored, dtype = arrays["outliers"], "float16"
    if settled.codec == "bfloat16":
        stored = (stored.astype(np.uint32) << 16).view(np.float32)
    # A sum of float64 is finite if and only if every float32 in it is.
    with np.errstate(invalid="ignore"):
        if np.isfinite(stored.sum(dtype=np.float64)):
            return None
    where = np.argwhere(~np.isfinite(stored))[0]
    row, column, value = int(where[0]), int(where[-1]), stored[tuple(where)]
    column = settled.outliers[column] if settled.outliers else column
    overflow = dtype == "float16" and np.isinf(value)
    hint = " (a float16 overflow? float32 holds more)" if overflow else ""
    return row, f"has component {column} {value} in {dtype}{hint}"


def _encode_int8(states: np.ndarray, outliers: list[int]) -> dict[str, np.ndarray]:
    inner = states
    if outliers:
        inner = states.copy()
        inner[:, outliers] = 0.0
    finite = np.isfinite(states).all(axis=-1)
    largest = np.abs(np.where(finite[:, None], inner, np.float32(0.0))).max(axis=-1, initial=0.0)
    counts = finite & (largest >= LEAST)
    scales = np.where(counts, largest * np.float32(ONE_127TH), np.float32(0.0))
    divisor = np.where(counts, scales, np.float32(1.0))[:, None]
    quotients = np.where(counts[:, None], inner, np.float32(0.0)) / divisor
    arrays: dict[str, np.ndarray] = {
        "states": np.rint(quotients).astype(np.int8),
        "scales": np.where(finite, scales, np.float32("nan")).astype(np.float32),
    }
    if outliers:
        with np.errstate(over="ignore", invalid="ignore"):
            kept = _without_subnormals(states[:, outliers])
            arrays["outliers"] = kept.astype(np.float16)
    return arrays


def _without_subnormals(states: np.ndarray) -> np.ndarray:
    return np.where(np.abs(states) < SMALLEST_NORMAL, np.float32(0.0), states)


def _to_bfloat16(states: np.ndarray) -> np.ndarray:
    """The upper 16 bits, rounded half to even; one NaN for all."""
    bits = np.ascontiguousarray(states).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(states), 0x7FC0, rounded).astype(np.uint16)
