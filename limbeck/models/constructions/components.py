"""Principal components of a matrix: the fewer columns that say most of it."""

# V rows (ids), D columns of the matrix, K columns kept

from dataclasses import dataclass

import numpy as np

__all__ = ["Components", "leading_directions", "principal_components"]


@dataclass(frozen=True, kw_only=True)
class Components:
    """A matrix as `compressed @ basis.T + mean`, nearly."""

    compressed: np.ndarray
    """(V, K) float32."""

    basis: np.ndarray
    """(D, K) float64, orthonormal columns, the most telling direction first."""

    mean: np.ndarray
    """(D,) float64 that was taken off every row; zeros where nothing was."""

    kept: float
    """Share of the sum of squares (after the mean is off) that is kept, from 0 to 1."""

    def restored(self) -> np.ndarray:
        """(V, D) float32: the nearest to the matrix that K columns can say."""
        return (self.compressed @ self.basis.T + self.mean).astype(np.float32)


def principal_components(matrix: np.ndarray, dim: int, *, centred: bool) -> Components:
    """Compresses the columns of a matrix.

    Centred is PCA: the mean row is taken off first, and what is kept is the most of the variance.
    Not centred is the truncated SVD: no linear map of K columns is nearer to the matrix itself
    (Eckart and Young, 1936), but where the mean row is large the first direction is spent on it.

    Args:
      matrix: (V, D).
      dim: K, from 1 to D.
      centred: whether the mean row is taken off.
    """
    values = matrix.astype(np.float64)
    mean = values.mean(axis=0) if centred else np.zeros(values.shape[1])
    values -= mean
    basis, squares = leading_directions(values.T @ values, dim)
    total = float(np.square(values).sum())
    return Components(
        compressed=(values @ basis).astype(np.float32),
        basis=basis,
        mean=mean,
        kept=min(squares / total, 1.0) if total else 1.0,
    )


def leading_directions(moment: np.ndarray, dim: int) -> tuple[np.ndarray, float]:
    """The K leading eigenvectors of a symmetric matrix.

    The largest component of each is positive, so that a sign is no accident.

    Args:
      moment: (D, D) float64.
      dim: K.

    Returns:
      (D, K) orthonormal columns, and the sum of their eigenvalues.
    """
    eigenvalues, vectors = np.linalg.eigh(moment)  # ascending
    basis = vectors[:, ::-1][:, :dim]
    largest = np.abs(basis).argmax(axis=0)
    signs = np.where(basis[largest, np.arange(dim)] < 0, -1.0, 1.0)
    return basis * signs, float(eigenvalues[::-1][:dim].sum())
