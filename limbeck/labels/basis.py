"""A linear basis for states: the principal components of a sample, kept beside the family.

Tensors: `basis` (R, D), rows of length 1 at right angles to each other, by variance descending,
and `mean` (D,). What is stored of a state x is basis (x - mean); what is rebuilt is the nearest
point to x in the plane that the R components span through the mean.
"""

# N positions, D width of a state, R components

from collections.abc import Mapping

import numpy as np

from limbeck.config.errors import LimbeckError

__all__ = ["describe", "fit", "project", "rebuild"]


def fit(sample: np.ndarray, *, num_components: int) -> dict[str, np.ndarray]:
    """Principal components of (N, D) states, in float64 inside.

    Raises:
      LimbeckError: more components than channels, or no more positions than components.
    """
    num_positions, width = sample.shape
    if num_components > width:
        raise LimbeckError(
            f"basis is {num_components} components, but a state has {width}; give fewer, or null"
        )
    if num_positions <= num_components:
        raise LimbeckError(
            f"basis is {num_components} components, but there are only {num_positions} positions "
            "to fit it on; give fewer, or null"
        )
    wide = sample.astype(np.float64)
    mean = wide.mean(axis=0)
    centred = wide - mean
    _, vectors = np.linalg.eigh(centred.T @ centred)  # by variance ascending, columns
    basis = vectors[:, ::-1].T[:num_components]
    # A component and its negative are equally good: the largest entry is positive.
    largest = np.take_along_axis(basis, np.abs(basis).argmax(axis=1)[:, None], axis=1)
    basis = basis * np.sign(largest)
    return {"basis": basis.astype(np.float32), "mean": mean.astype(np.float32)}


def project(states: np.ndarray, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    """(N, D) states -> (N, R) float32 components."""
    components: np.ndarray = (states - tensors["mean"]) @ tensors["basis"].T
    return components


def rebuild(components: np.ndarray, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    """(..., R) components -> (..., D) float32 states."""
    states: np.ndarray = components @ tensors["basis"] + tensors["mean"]
    return states


def describe(sample: np.ndarray, tensors: Mapping[str, np.ndarray]) -> str:
    """One line: how much of the sample's variance the basis keeps."""
    centred = sample.astype(np.float64) - tensors["mean"]
    lost = sample - rebuild(project(sample, tensors), tensors).astype(np.float64)
    total = max(float((centred**2).sum()), 1e-300)
    num_components, width = tensors["basis"].shape
    return (
        f"basis of {num_components} of {width} components keeps "
        f"{100.0 * (1.0 - float((lost**2).sum()) / total):.3f} % of the variance of "
        f"{len(sample)} states"
    )
