"""What is derived of which final family, settled and checked before anything is written."""

# M positions of a sample

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from extract.derived_rows import check_positions, chosen_rows, first_states
from extract.fitting import settled_before
from extract.space import INDEX_BYTES, SPREAD, refuse_without_space
from limbeck.config.errors import UsageError
from limbeck.labels import codecs
from limbeck.labels.family import attachments, codec_settings
from limbeck.labels.final import full_logits
from limbeck.labels.fitted import Fitted
from limbeck.labels.side import Side
from limbeck.labels.signals import FinalSignal, LabelDims, Signal, SparseSignal
from limbeck.records.dataset import Dataset, check_rows_match
from limbeck.records.examples import refuse_unmasked
from limbeck.records.files import bytes_in
from limbeck.records.rows import FixedRows
from limbeck.records.writer import DatasetWriter

__all__ = ["POSITIONS_AT_A_TIME", "ROWS_AT_A_TIME", "DeriveSettings", "Target", "prepare_targets"]

POSITIONS_AT_A_TIME = 256  # of which logits are held: 31 MB at V = 30,522; decides last bits
ROWS_AT_A_TIME = 512
_SIZED_POSITIONS = 256  # whose packed size stands for all others'
_RECORD_BYTES = 128  # framing, names, key, digest and count of a record


@dataclass(frozen=True, kw_only=True)
class DeriveSettings:
    """Which sparse families are made of which final family."""

    families: Mapping[str, Signal]
    """Family name -> signal; those that are not sparse are left alone."""
    final: str
    """Directory of the finished final family."""
    examples: str
    """The examples it was made from."""
    out: str = ""
    """Each family goes to OUT/<name>/; empty for the directory that holds the final family."""
    seed: int = 0
    """Of the choice of records and of sampling."""
    threads: int = 0
    """CPU threads; 0 leaves the choice to TensorFlow."""
    worker: str = ""
    """Which part of the shards this process does: `i/n`, `auto`, or empty for all of them."""

    @property
    def where(self) -> str:
        """The output directory."""
        return self.out or os.path.dirname(os.path.abspath(self.final))


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """One family that is being derived."""

    fitted: Fitted
    """Its signal."""
    writer: DatasetWriter
    """Writes its directory."""
    dims: LabelDims
    """Sizes of its arrays."""


def prepare_targets(
    settings: DeriveSettings, final: Dataset, source: Fitted, examples: Dataset, *, shared: bool
) -> dict[str, Target]:
    """Checks all that can be checked before anything is written.

    Args:
      settings: what was asked for.
      final: the opened final family.
      source: what decodes it.
      examples: what it was made from.
      shared: whether other workers write the same directories.

    Returns:
      Family name -> target, in the order of the settings.

    Raises:
      UsageError: nothing to derive, positions or records that are not there, an OUT of another
        job, or a disk that does not hold the result.
    """
    check_rows_match(examples, final)
    if not isinstance(source.signal, FinalSignal):
        raise UsageError(
            f"{settings.final} holds a signal of kind {source.signal.kind}; derive needs a family "
            "of kind final"
        )
    wanted = {n: s for n, s in settings.families.items() if isinstance(s, SparseSignal)}
    if not wanted:
        raise UsageError("families: none is of kind sparse; only those can be derived")
    targets = {}
    for name, signal in wanted.items():
        check_positions(name, signal, source.signal)
        if final.is_partial or signal.records < 1.0:
            for index in range(len(examples.content.shards)):
                chosen_rows(signal, final, examples, index, seed=settings.seed)
        targets[name] = _target_of(settings, name, signal, final, source, examples, shared=shared)
        targets[name].writer.check()
    _check_space(settings, targets, final, source, examples)
    return targets


def _target_of(
    settings: DeriveSettings,
    name: str,
    signal: SparseSignal,
    final: Dataset,
    source: Fitted,
    examples: Dataset,
    *,
    shared: bool,
) -> Target:
    vocab_size, final_dim = source.tensors["decoder/kernel"].shape
    masked = "mask_positions" in examples.layout.names
    if signal.positions == "masked":
        refuse_unmasked(examples.layout, examples=settings.examples, who=f"families.{name}")
    dims = LabelDims(
        seq_length=examples.layout.field("ids").shape[0] or 0,
        max_predictions=examples.layout.field("mask_positions").shape[0] if masked else None,
        vocab_size=vocab_size,
        hidden_dim=int((final.content.teacher or {}).get("hidden_dim") or final_dim),
        final_dim=final_dim,
    )
    fitted = _fit(settings, name, signal, final, source, examples)
    uses_seed = signal.records < 1.0 or signal.needs_draws
    writer = DatasetWriter(
        os.path.join(settings.where, name),
        name=name,
        kind="labels",
        layout=signal.layout(dims, fitted.chosen),
        num_shards=len(examples.content.shards),
        settings={
            **codec_settings(fitted),
            "derived_from": final.id,
            "positions_at_a_time": POSITIONS_AT_A_TIME,
            "rows_at_a_time": ROWS_AT_A_TIME,
        },
        parents={"examples": examples.id, "final": final.id},
        tokenizer=examples.content.tokenizer,
        teacher=final.content.teacher,
        seed=settings.seed if uses_seed else None,
        attachments=attachments(fitted),
        shared=shared,
    )
    return Target(fitted=fitted, writer=writer, dims=dims)


def _fit(
    settings: DeriveSettings,
    name: str,
    signal: SparseSignal,
    final: Dataset,
    source: Fitted,
    examples: Dataset,
) -> Fitted:
    """What an earlier run settled, else from the logits of the first positions."""
    there = settled_before(os.path.join(settings.where, name), signal)
    if there is not None:
        return there
    raw = {}
    if wanted := codecs.sample_positions(signal):
        states = first_states(
            signal, source, final, examples, num_positions=wanted, seed=settings.seed
        )
        raw = {"logits": full_logits(states, source.tensors)}
    fitted, _ = codecs.fit(signal, raw, side=Side())
    return fitted


def _check_space(
    settings: DeriveSettings,
    targets: Mapping[str, Target],
    final: Dataset,
    source: Fitted,
    examples: Dataset,
) -> None:
    """Counts what the families need beyond what is there already."""
    needed = 0.0
    for target in targets.values():
        needed -= bytes_in(target.writer.directory)
        records = examples.num_rows * target.fitted.signal.records
        each = _record_bytes(target, final, source, examples, seed=settings.seed)
        needed += (each + INDEX_BYTES) * records
        needed += sum(map(len, target.writer.attachments.values()))
    parent = os.path.abspath(settings.where)
    while not os.path.exists(parent):
        parent = os.path.dirname(parent)
    free = shutil.disk_usage(parent).free
    refuse_without_space(settings.where, needed_bytes=max(0, int(needed)), free_bytes=free)


def _record_bytes(
    target: Target, final: Dataset, source: Fitted, examples: Dataset, *, seed: int
) -> float:
    """Bytes of a record: exact where all are alike, else by the first positions' packed size."""
    layout, signal = target.writer.layout, target.fitted.signal
    if layout.stride_is_fixed:
        return FixedRows(layout).stride
    assert isinstance(signal, SparseSignal)
    states = first_states(
        signal, source, final, examples, num_positions=_SIZED_POSITIONS, seed=seed
    )
    if not len(states):
        return _RECORD_BYTES
    words = np.random.default_rng(seed).integers(0, 2**31, (len(states), 2)).astype(np.int32)
    arrays = codecs.encode(
        target.fitted,
        {"logits": full_logits(states, source.tensors)},
        true_ids=np.zeros(len(states), np.int32),
        draws=words,
    )
    fields = codecs.to_records(target.fitted, arrays, np.array([len(states)]), layout=layout)
    each = len(fields["payload"][0]) / len(states)
    totals = examples.content.totals
    places = {"masked": totals["labelled_positions"], "all": totals["tokens"]}
    positions = places.get(signal.positions, totals["records"]) / max(1, totals["records"])
    return _RECORD_BYTES + SPREAD * each * positions
