"""Students with smaller embeddings: principal components, or factorised embeddings."""

# V vocabulary, D hidden width of the teacher, K columns kept, E = embeddings (V, D)

import dataclasses

import numpy as np

from limbeck.architectures import EncoderArchitecture
from limbeck.config.errors import UsageError
from limbeck.models.constructions.components import leading_directions, principal_components
from limbeck.models.constructions.construction import Construction

__all__ = [
    "TOKEN",
    "compress_embeddings",
    "compressed_shape",
    "factorise_embeddings",
    "factorised_shape",
]

TOKEN = "encoder/embeddings/token"
_EMBEDDED = "encoder/embeddings/"
_NOT_ELECTRAS = ("head/transform/", "head/norm/", "pooler/", "next_sentence/", "classifier/")
_TABLES = (TOKEN, "encoder/embeddings/position", "encoder/embeddings/segment")


def compressed_shape(
    architecture: EncoderArchitecture,
    dim: int,
    *,
    num_heads: int | None = None,
    intermediate_dim: int | None = None,
) -> EncoderArchitecture:
    """The shape of a student that is K wide throughout, from the teacher's.

    Args:
      architecture: the teacher's.
      dim: K.
      num_heads: None for heads as wide as the teacher's.
      intermediate_dim: None for as many times K as the teacher's is times D.

    Raises:
      UsageError: K is wider than the teacher, or does not go with one of the two left out.
    """
    old = architecture
    _check_dim("embedding_pca", dim, old)
    if num_heads is None:
        if dim % old.head_dim:
            raise UsageError(
                f"embedding_pca: dim {dim} is no multiple of the teacher's head width "
                f"{old.head_dim}; say num_heads"
            )
        num_heads = dim // old.head_dim
    elif dim % num_heads:
        raise UsageError(f"embedding_pca: dim {dim} is not a multiple of num_heads {num_heads}")
    if intermediate_dim is None:
        if old.intermediate_dim * dim % old.hidden_dim:
            raise UsageError(
                f"embedding_pca: dim {dim} times the teacher's {old.intermediate_dim} / "
                f"{old.hidden_dim} is not a whole number; say intermediate_dim"
            )
        intermediate_dim = old.intermediate_dim * dim // old.hidden_dim
    return dataclasses.replace(
        old, hidden_dim=dim, num_heads=num_heads, intermediate_dim=intermediate_dim
    )


def compress_embeddings(
    teacher: Construction,
    dim: int,
    *,
    centred: bool,
    num_heads: int | None = None,
    intermediate_dim: int | None = None,
    freeze: bool = False,
) -> Construction:
    """A student K wide whose token embedding is the teacher's, compressed to K columns.

    This is how XtremeDistil starts its students from scratch (`--compress_word_embedding`, with
    scikit-learn's PCA, so centred): X = (E - mean) B, where B (D, K) holds the leading principal
    directions. X is the whole token embedding; no projection back to D stands behind it, and
    every layer of the student is K wide and starts at random, as do its positions and segments.

    What that means for the decoder, which is tied to X: a teacher's logit h . E_t equals
    (h B) . X_t + h . mean, up to what K columns lose. The last part is the same for every token t
    and changes no probability, so for the decoder nothing is lost by centring. At the input the
    mean is gone from every token alike, and the random positions do not put it back.
    Not centred (plain truncated SVD), the mean stays in and takes up to one of the K columns, the
    more of it the larger the mean is.
    The bias of the decoder is the teacher's.

    Args:
      teacher: to take from; its embeddings are as wide as its states.
      dim: K, the student's width; at most D.
      centred: True for PCA, False for the plain truncated SVD.
      num_heads: see `compressed_shape`.
      intermediate_dim: see `compressed_shape`.
      freeze: whether training leaves X alone (and with it the decoder, but not its bias).

    Raises:
      UsageError: a width that does not fit.
    """
    architecture = compressed_shape(
        teacher.architecture, dim, num_heads=num_heads, intermediate_dim=intermediate_dim
    )
    components = principal_components(teacher.tensors[TOKEN], dim, centred=centred)
    tensors = {TOKEN: components.compressed}
    source = teacher.origins[TOKEN]
    kind = "centred principal components" if centred else "truncated SVD, not centred"
    origins = {TOKEN: f"{source}, {kind}"}
    if (bias := "head/output_bias") in teacher.tensors:
        tensors[bias], origins[bias] = teacher.tensors[bias], teacher.origins[bias]
    measure = "variance" if centred else "sum of squares"
    line = (
        f"embedding_pca: {TOKEN} {_shape(components.compressed)} <- {kind} of {source} "
        f"{_shape(teacher.tensors[TOKEN])}, {100 * components.kept:.1f} % of the {measure} kept"
    )
    return dataclasses.replace(
        teacher,
        architecture=architecture,
        tensors=tensors,
        origins=origins,
        frozen=(TOKEN,) if freeze else (),
    ).with_lines(line, f"embedding_pca: all layers, {dim} wide, start at random")


def factorised_shape(architecture: EncoderArchitecture, dim: int) -> EncoderArchitecture:
    """The shape of a student whose embeddings are K wide and its layers as they were.

    It is ELECTRA's: a BERT has no such embeddings, an ELECTRA no pooler.

    Raises:
      UsageError: K is not below the teacher's width, the embeddings are factorised already, or
        the family has no such embeddings.
    """
    _check_dim("factorised_embedding", dim, architecture)
    if not 2 <= dim < architecture.hidden_dim:
        raise UsageError(
            f"factorised_embedding: dim is {dim}; it must be from 2 to below the width "
            f"{architecture.hidden_dim}"
        )
    if architecture.family not in ("bert", "electra"):
        raise UsageError(
            f"factorised_embedding: family {architecture.family} is not supported; bert and "
            "electra are"
        )
    return dataclasses.replace(architecture, family="electra", embedding_dim=dim)


def factorise_embeddings(teacher: Construction, dim: int, *, freeze: bool = False) -> Construction:
    """A student with embeddings K wide and a projection to the teacher's width behind their norm.

    The teacher adds up embeddings and norms the sum, D wide; the student adds up, norms K wide and
    projects. The two are equal where the sums lie in K - 1 directions beside the mean of their
    components: with Q (D, K) of orthonormal columns that take the direction
    (1, ..., 1) to (1, ..., 1), and c = sqrt(K / D), the tables become c E Q, the norm starts at
    gamma = 1 and beta = 0, and the projection is diag(gamma) of the teacher behind Q' / c, with
    the teacher's beta as its bias. The directions are those that keep the most of the
    summed embeddings' square, tokens, positions and segments each taken as evenly frequent.

    The decoder is tied to c E Q. The head's transform, which was D wide and is K wide, starts at
    random and has to be trained, since its activation does not commute with Q; its bias over the
    vocabulary is the teacher's.

    Args:
      teacher: to take from, a BERT or ELECTRA whose embeddings are as wide as its states.
      dim: K, from 2 to D - 1.
      freeze: whether training leaves the token embedding alone (and with it the decoder).

    Raises:
      UsageError: a width or family that does not fit.
    """
    architecture = factorised_shape(teacher.architecture, dim)
    tables = {name: teacher.tensors[name] for name in _TABLES if name in teacher.tensors}
    rotation, kept = _rotation(list(tables.values()), dim)
    scale = np.sqrt(dim / teacher.architecture.hidden_dim)
    tensors, origins = {}, {}
    for name, tensor in teacher.tensors.items():
        if name in tables:
            tensors[name] = _float32(scale * (tensor.astype(np.float64) @ rotation))
            origins[name] = f"{teacher.origins[name]}, {dim} directions"
        elif name.startswith(f"{_EMBEDDED}norm/"):
            tensors |= {name: np.full(dim, name.endswith("gamma"), np.float32)}
            origins[name] = "ones" if name.endswith("gamma") else "zeros"
        elif not name.startswith(_NOT_ELECTRAS):
            tensors[name], origins[name] = tensor, teacher.origins[name]
    gamma, beta = (f"{_EMBEDDED}norm/{leaf}" for leaf in ("gamma", "beta"))
    kernel, bias = (f"{_EMBEDDED}projection/{leaf}" for leaf in ("kernel", "bias"))
    tensors[kernel] = _float32(rotation.T * teacher.tensors[gamma] / scale)
    tensors[bias] = teacher.tensors[beta]
    origins[kernel] = f"the directions, with {teacher.origins[gamma]}"
    origins[bias] = teacher.origins[beta]
    line = (
        f"factorised_embedding: {_shape(tables[TOKEN])} -> {_shape(tensors[TOKEN])} and a "
        f"projection, {100 * kept:.1f} % of the summed embeddings' square kept; the head starts at "
        "random but for its bias"
    )
    return dataclasses.replace(
        teacher,
        architecture=architecture,
        tensors=tensors,
        origins=origins,
        frozen=(*teacher.frozen, TOKEN) if freeze else teacher.frozen,
    ).with_lines(line)


def _rotation(tables: list[np.ndarray], dim: int) -> tuple[np.ndarray, float]:
    """Q (D, K) of `factorise_embeddings`, and the share of the square that it keeps."""
    width = tables[0].shape[1]
    moment, mean = np.zeros((width, width)), np.zeros(width)
    for table in tables:  # independent, so their covariances add up and their means do
        rows = table.astype(np.float64)
        rows -= rows.mean(axis=1, keepdims=True)  # a norm does not see the mean of components
        centre = rows.mean(axis=0)
        moment += (rows - centre).T @ (rows - centre) / len(rows)
        mean += centre
    moment += np.outer(mean, mean)
    total = float(np.trace(moment))
    ones = np.full(width, width**-0.5)
    # The direction of ones has eigenvalue 0; below that it cannot be among the leading ones.
    basis, kept = leading_directions(moment - (total + 1.0) * np.outer(ones, ones), dim - 1)
    rotation = basis @ _helmert(dim) + np.outer(ones, np.full(dim, dim**-0.5))
    return rotation, min(kept / total, 1.0) if total else 1.0


def _helmert(dim: int) -> np.ndarray:
    """(K - 1, K) orthonormal rows, each of sum 0 (Helmert's matrix without its first row)."""
    rows = np.zeros((dim - 1, dim))
    for i in range(1, dim):
        rows[i - 1, :i] = 1.0
        rows[i - 1, i] = -i
        rows[i - 1] /= np.sqrt(i * (i + 1))
    return rows


def _check_dim(step: str, dim: int, architecture: EncoderArchitecture) -> None:
    if architecture.embedding_dim is not None:
        raise UsageError(
            f"{step}: the embeddings are {architecture.embedding_dim} wide and projected already"
        )
    if not 1 <= dim <= architecture.hidden_dim:
        raise UsageError(
            f"{step}: dim is {dim}; the teacher's width is {architecture.hidden_dim}, and no "
            "more can be kept"
        )


def _float32(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32)


def _shape(tensor: np.ndarray) -> str:
    return " x ".join(map(str, tensor.shape))
