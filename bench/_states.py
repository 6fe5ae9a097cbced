"""Tables of what the codecs of states do to a real teacher's states; for `bench.codecs`.

hidden     signal to noise, smallest cosine and bytes, by layer and codec
basis      the same by the number of components, fitted on other records
final      KL over the whole vocabulary and changed winners, and the gate's verdict
relations  KL a row of MiniLM's relations and of the layer's own attention maps
"""

# B records, T tokens, M positions, D width of a state

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from limbeck.labels import (
    FinalSignal,
    Fitted,
    HiddenSignal,
    QkvSignal,
    RelationsSignal,
    Side,
    Signal,
    basis,
    codecs,
    final,
    relations,
    state_codecs,
)
from limbeck.labels.positions import flatten
from limbeck.labels.state_codecs import Settled
from limbeck.labels.state_gates import outlier_order, signal_to_noise_db, smallest_cosine
from limbeck.records.dataset import Dataset
from limbeck.records.examples import attention_mask, segment_ids
from limbeck.teachers import Items, Teacher, TeacherBatch

__all__ = [
    "States",
    "Table",
    "basis_table",
    "collect",
    "final_table",
    "hidden_table",
    "relations_table",
    "tables",
]

ROWS_AT_A_TIME = 32


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the docs."""

    title: str
    """What it shows, and of how many positions."""
    columns: tuple[str, ...]
    """Headings."""
    rows: tuple[tuple[str, ...], ...]
    """Cells."""

    def markdown(self) -> str:
        """The table in Markdown, with its title above."""
        lines = [self.columns, ("---",) * len(self.columns), *self.rows]
        body = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
        return f"{self.title}\n\n{body}\n"


@dataclass(frozen=True, kw_only=True, eq=False)
class States:
    """What a teacher says about some records."""

    hidden: Mapping[int, np.ndarray]
    """Layer -> (M, D) at all real tokens."""
    final: np.ndarray
    """(M, D) at the masked positions."""
    inputs: np.ndarray
    """(B, T, D): what the last layer's projections multiply, zero behind a record's last token."""
    mask: np.ndarray
    """(B, T), 1 where a token is real."""
    decoder: Side
    """Of the final family."""
    projections: Side
    """Of the relations family."""


def collect(
    teacher: Teacher, examples: Dataset, rows: np.ndarray, *, layers: Iterable[int]
) -> States:
    """Runs the teacher over some records.

    Args:
      teacher: with a masked-LM head.
      examples: masked examples.
      rows: which records.
      layers: whose states to look at.
    """
    last = teacher.facts.num_layers
    wanted: dict[str, Signal] = {str(n): HiddenSignal(layer=n) for n in layers}
    wanted |= {"final": FinalSignal(), "inputs": RelationsSignal(layer=last)}
    parts = [
        teacher.raw(_batch(examples.read(chosen)), wanted)
        for chosen in np.array_split(rows, -(-len(rows) // ROWS_AT_A_TIME))
    ]
    found = {name: np.concatenate([part[name]["states"] for part in parts]) for name in wanted}
    counts = examples.read(rows)["num_tokens"].astype(np.int64)
    flat = flatten(counts, int(counts.max()))
    inputs = np.zeros((len(counts), int(counts.max()), found["inputs"].shape[-1]), np.float32)
    inputs[flat.rows, flat.slots] = found["inputs"]
    return States(
        hidden={int(name): x for name, x in found.items() if name.isdigit()},
        final=found["final"],
        inputs=inputs,
        mask=attention_mask(counts, inputs.shape[1]),
        decoder=teacher.side(wanted["final"]),
        projections=teacher.side(wanted["inputs"]),
    )


def tables(fitted_on: States, measured: States, *, basis_layer: int) -> list[Table]:
    """All tables; bases are fitted on other records than those that are measured."""
    return [
        hidden_table(measured.hidden),
        basis_table(fitted_on.hidden[basis_layer], measured.hidden[basis_layer], basis_layer),
        final_table(fitted_on.final, measured.final, measured.decoder),
        relations_table(measured.inputs, measured.mask, measured.projections),
    ]


def hidden_table(hidden: Mapping[int, np.ndarray]) -> Table:
    """States by layer and codec."""
    rows = []
    for layer, exact in hidden.items():
        for settled in _codecs(exact):
            kept, size = _stored(exact, settled)
            snr, cosine = signal_to_noise_db(kept, exact), smallest_cosine(kept, exact)
            rows.append((str(layer), settled.name, f"{size}", f"{snr:.1f}", f"{cosine:.5f}"))
    return Table(
        title=f"States at {len(next(iter(hidden.values())))} tokens",
        columns=("layer", "codec", "bytes", "SNR, dB", "smallest cosine"),
        rows=tuple(rows),
    )


def basis_table(fitted_on: np.ndarray, exact: np.ndarray, layer: int) -> Table:
    """States of one layer by the number of components kept, in float32 and int8."""
    rows = []
    for num_components in _fractions(exact.shape[-1]):
        signal = HiddenSignal(layer=layer, codec="int8", basis=num_components)
        fitted, _ = codecs.fit(signal, {"states": fitted_on}, side=Side())
        arrays = codecs.encode(fitted, {"states": exact}, true_ids=None, draws=None)
        kept = codecs.decode(fitted, arrays)["states"]
        alone = basis.rebuild(basis.project(exact, fitted.tensors), fitted.tensors)
        size = sum(x.nbytes for x in arrays.values()) // len(exact)
        rows.append(
            (
                str(num_components),
                str(size),
                f"{signal_to_noise_db(alone, exact):.1f}",
                f"{signal_to_noise_db(kept, exact):.1f}",
                f"{smallest_cosine(kept, exact):.4f}",
            )
        )
    return Table(
        title=f"Layer {layer} in a basis fitted on {len(fitted_on)} tokens, at {len(exact)} others",
        columns=("components", "bytes", "SNR of the basis, dB", "with int8, dB", "smallest cosine"),
        rows=tuple(rows),
    )


def final_table(fitted_on: np.ndarray, exact: np.ndarray, side: Side) -> Table:
    """The full distribution at temperature 1, by codec; the gate's choice is in the title."""
    fitted, _ = codecs.fit(FinalSignal(), {"states": fitted_on}, side=side)
    rows = []
    for settled in _codecs(exact, order_from=fitted_on):
        kept, size = _stored(exact, settled)
        error = final.distribution_error(kept, exact, fitted.tensors)
        clear = error["margin"] > final.MARGIN_NATS
        rows.append(
            (
                settled.name,
                str(size),
                f"{error['kl'].mean():.1e}",
                f"{np.quantile(error['kl'], 0.99):.1e}",
                f"{100 * error['flipped'][clear].mean():.2f}",
                f"{100 * error['flipped'].mean():.2f}",
            )
        )
    vocab_size = len(fitted.tensors["decoder/bias"])
    return Table(
        title=f"Final states at {len(exact)} positions over {vocab_size} ids; the gate takes "
        f"{Settled.of('auto', fitted.chosen).name}",
        columns=("codec", "bytes", "mean KL", "99 %", "clear winners changed, %", "all, %"),
        rows=tuple(rows),
    )


def relations_table(inputs: np.ndarray, mask: np.ndarray, side: Side) -> Table:
    """Relations with as many heads as the layer has, and its attention maps, by what is stored."""
    real = mask.astype(bool)
    flat = {"states": inputs[real]}
    rows = []
    exact = relations.project(inputs, side.tensors)
    for codec in ("int8", "bfloat16"):
        signal = RelationsSignal(layer=1, codec=codec)  # type: ignore[arg-type]
        fitted, _ = codecs.fit(signal, flat, side=side)
        arrays = codecs.encode(fitted, flat, true_ids=None, draws=None)
        kept = np.zeros_like(inputs)
        kept[real] = codecs.decode(fitted, arrays)["states"]
        found = relations.project(kept, side.tensors)
        size = sum(x.nbytes for x in arrays.values()) // int(real.sum())
        heads = relations.heads_of(fitted)
        name = f"input, {Settled.of(codec, fitted.chosen).name}"
        rows.append((name, str(size), *_relation_errors(exact, found, heads, mask)))
    stored = Fitted(signal=QkvSignal(layer=1))
    given = {n: getattr(exact, n)[real] for n in ("queries", "keys", "values")}
    arrays = codecs.encode(stored, given, true_ids=None, draws=None)
    parts = {}
    for name, values in codecs.decode(stored, arrays).items():
        parts[name] = np.zeros_like(getattr(exact, name))
        parts[name][real] = values
    size = sum(x.nbytes for x in arrays.values()) // int(real.sum())
    errors = _relation_errors(exact, relations.Projections(**parts), heads, mask)
    rows.append(("Q, K, V, int8", str(size), *errors))
    return Table(
        title=f"Relations of the last layer at {int(real.sum())} tokens: mean KL a row, nats",
        columns=("stored", "bytes", *relations.RELATIONS, "attention"),
        rows=tuple(rows),
    )


def _relation_errors(
    exact: relations.Projections,
    found: relations.Projections,
    heads: relations.Heads,
    mask: np.ndarray,
) -> list[str]:
    real = mask.astype(bool)
    cells = []
    for kind in relations.RELATIONS:
        p, q = (
            relations.relation(
                *relations.sides(x, kind, heads), num_heads=heads.num_heads, attention_mask=mask
            )
            for x in (exact, found)
        )
        cells.append(f"{_row_kl(p, q)[real].mean():.1e}")
    p, q = (relations.attention_maps(x, heads, attention_mask=mask) for x in (exact, found))
    return [*cells, f"{_row_kl(p, q)[real].mean():.1e}"]


def _row_kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """(B, A, T, T) twice -> (B, T) KL a row, mean over heads, in float64."""
    p, q = p.astype(np.float64), q.astype(np.float64)
    tiny = np.finfo(np.float32).tiny
    terms = p * (np.log(np.maximum(p, tiny)) - np.log(np.maximum(q, tiny)))
    mean: np.ndarray = terms.sum(axis=-1).mean(axis=1)
    return mean


def _codecs(exact: np.ndarray, order_from: np.ndarray | None = None) -> list[Settled]:
    order = outlier_order(exact if order_from is None else order_from)
    return [
        Settled(codec="float16"),
        Settled(codec="bfloat16"),
        *(Settled(codec="int8", outliers=tuple(sorted(order[:n]))) for n in (0, 2, 8)),
    ]


def _stored(exact: np.ndarray, settled: Settled) -> tuple[np.ndarray, int]:
    """Decoded states, and bytes a position."""
    arrays = state_codecs.encode(exact, settled)
    size = sum(values.nbytes for values in arrays.values()) // len(exact)
    return state_codecs.decode(arrays, settled), size


def _fractions(width: int) -> list[int]:
    return [width // 8, width // 4, width // 2, 3 * width // 4]


def _batch(rows: Mapping[str, np.ndarray]) -> TeacherBatch:
    """The records as one batch with items at all tokens and at the masked positions."""
    tokens = rows["num_tokens"].astype(np.int64)
    length = int(tokens.max())
    every, masked = flatten(tokens, length), flatten(rows["num_masked"], length)
    places = rows["mask_positions"][masked.rows, masked.slots].astype(np.int64)
    return TeacherBatch(
        ids=rows["ids"][:, :length].astype(np.int32),
        segment_ids=segment_ids(rows["num_tokens"], rows["segment_split"], length).astype(np.int32),
        attention_mask=attention_mask(rows["num_tokens"], length).astype(np.int32),
        items={
            "all": _items(every.rows * length + every.slots),
            "masked": _items(masked.rows * length + places),
        },
    )


def _items(index: np.ndarray) -> Items:
    return Items(index=index.astype(np.int32), true_ids=np.zeros(len(index), np.int32))
