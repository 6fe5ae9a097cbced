"""What a finished label family holds: its manifest, its size, a summary of its values."""

import os

import numpy as np

from extract.report import measured_line
from limbeck.config.errors import UsageError
from limbeck.labels import Signal, SparseSignal, from_dict, positions
from limbeck.records.dataset import Dataset, open_dataset

__all__ = ["describe", "open_family"]

SAMPLE_ROWS = 1024  # records that the summaries of `describe` look at


def open_family(directory: str) -> tuple[Dataset, Signal]:
    """Opens a label family and the signal that its manifest declares.

    Raises:
      LimbeckError: not a finished label family.
    """
    dataset = open_dataset(directory, kind="labels")
    where = os.path.join(directory, "manifest.json")
    declared = dataset.content.settings.get("signal")
    if not isinstance(declared, dict):
        raise UsageError(f"{where}: settings.signal is missing; not a family of `extract run`")
    return dataset, from_dict(declared, where=where)


def describe(directory: str) -> list[str]:
    """Lines on a family: what it is, where it comes from, its size and a summary of its values."""
    dataset, signal = open_family(directory)
    with dataset:
        content = dataset.content
        teacher = content.teacher or {}
        settings = {k: v for k, v in content.settings.items() if k != "signal"}
        lines = [
            f"family {content.name} ({dataset.id[:12]}), {len(content.shards)} shards",
            f"signal {_words(content.settings['signal'])}",
            f"settings {_words(settings)}",
            f"teacher {_words({**teacher, 'fingerprint': str(teacher.get('fingerprint'))[:12]})}",
            f"made from {_words({role: parent[:12] for role, parent in content.parents.items()})}",
            f"fields {'; '.join(str(field) for field in dataset.layout.fields)}",
            measured_line(content),
        ]
        return lines + _summary(dataset, signal)


def _summary(dataset: Dataset, signal: Signal) -> list[str]:
    stored = dataset.read(np.arange(min(SAMPLE_ROWS, dataset.num_rows)))
    num_slots = stored["zmax" if isinstance(signal, SparseSignal) else "states"].shape[1]
    flat = positions.flatten(stored["num_positions"], num_slots)
    if not len(flat.rows):
        return ["no labelled positions in the first records"]
    what = f"{len(flat.rows):,} positions of the first {len(stored['key']):,} records"
    if not isinstance(signal, SparseSignal):
        states = stored["states"][flat.rows, flat.slots].astype(np.float64)
        rms, peak = np.sqrt((states**2).mean()), np.abs(states).max()
        return [f"{what}: root mean square {rms:.4g}, largest component {peak:.4g}"]
    tails = np.exp(stored["log_tail"][flat.rows, flat.slots].astype(np.float64))
    return [f"mass outside the kept ids, {what}:"] + [
        f"  T {t:g}: mean {tails[:, i].mean():.3e}, median {np.median(tails[:, i]):.3e}, "
        f"largest {tails[:, i].max():.3e}"
        for i, t in enumerate(signal.temperatures)
    ]


def _words(values: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
