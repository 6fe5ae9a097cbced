"""PyTorch twin of `limbeck.labels.codecs.encode`: only what is stored leaves the accelerator.

States are bit-equal to the NumPy codec's, but for a basis: a matrix product sums in an order of
its own.
"""

# M flat positions, D width of a state

from collections.abc import Mapping

import torch

from limbeck.labels import inside
from limbeck.labels.fitted import Fitted
from limbeck.labels.state_codecs import LEAST, ONE_127TH, SMALLEST_NORMAL, Settled
from limbeck.labels.states import settled_of
from limbeck.teachers import torch_sparse

__all__ = ["encode"]

Tensors = dict[str, torch.Tensor]


def encode(
    fitted: Fitted,
    raw: Mapping[str, torch.Tensor],
    *,
    true_ids: torch.Tensor | None,
    draws: torch.Tensor | None,
) -> Tensors:
    """Encodes M positions where they are.

    Args:
      fitted: of `limbeck.labels.codecs.fit`.
      raw: what the signal's source gives, (M, ...) float32.
      true_ids: (M,) integer; None for signals that need none.
      draws: (M, 2) int32; None for signals that need none.

    Returns:
      The arrays of the signal's layout at M positions, (M, ...).
    """
    signal = fitted.signal
    match signal.kind:
        case "sparse":
            arrays: Tensors = torch_sparse.encode(fitted, raw, true_ids=true_ids, draws=draws)
            return arrays
        case "hidden" | "final" | "relations":
            return _encode_states(fitted, raw["states"].float())
    arrays, settled = {}, inside.settled_of(signal)
    for name in signal.source.arrays:
        encoded = _encode_vectors(raw[name].float(), settled)
        arrays[name] = encoded["states"]
        if "scales" in encoded:
            arrays[f"{name}_scales"] = encoded["scales"]
    return arrays


def _encode_states(fitted: Fitted, states: torch.Tensor) -> Tensors:
    if "basis" in fitted.tensors:
        mean, basis = (
            torch.from_numpy(fitted.tensors[name]).to(states.device) for name in ("mean", "basis")
        )
        states = (states - mean) @ basis.T
    return _encode_vectors(states, settled_of(fitted))


def _encode_vectors(states: torch.Tensor, settled: Settled) -> Tensors:
    if settled.codec == "int8":
        return _encode_int8(states, list(settled.outliers))
    if settled.codec == "bfloat16":
        bits = _without_subnormals(states).to(torch.bfloat16).view(torch.int16)
        # One NaN for all; `where` has no kernel for uint16.
        bits = torch.where(torch.isnan(states), torch.tensor(0x7FC0, dtype=torch.int16), bits)
        return {"states": bits.view(torch.uint16)}
    if settled.codec == "float16":
        return {"states": _without_subnormals(states).half()}
    return {"states": states}


def _encode_int8(states: torch.Tensor, outliers: list[int]) -> Tensors:
    finite = torch.isfinite(states).all(dim=-1)
    inner = states
    if outliers:
        inner = states.clone()
        inner[:, outliers] = 0.0
    largest = torch.where(finite[:, None], inner, 0.0).abs().amax(dim=-1)
    counts = finite & (largest >= LEAST)
    scales = torch.where(counts, largest * ONE_127TH, 0.0)
    divisor = torch.where(counts, scales, 1.0)[:, None]
    quotients = torch.where(counts[:, None], inner, 0.0) / divisor
    arrays = {
        "states": quotients.round().to(torch.int8),
        "scales": torch.where(finite, scales, torch.nan),
    }
    if outliers:
        arrays["outliers"] = _without_subnormals(states[:, outliers]).half()
    return arrays


def _without_subnormals(states: torch.Tensor) -> torch.Tensor:
    return torch.where(states.abs() < SMALLEST_NORMAL, 0.0, states)
