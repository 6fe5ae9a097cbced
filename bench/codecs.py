"""The codecs on a real teacher: bytes, errors, and what they do to a student's gradient.

    python -m bench.codecs [--demo DIR] [--positions N] [--seeds N] [--parts PART ...]
                           [--out docs/codecs.md]

Reads what `make demo` leaves: its tuned masked-LM teacher, its held-out examples, its student
(late, after all of its steps) and the run that trained it, from which a student after 5 % of the
steps (early) is trained here unless `--early` names one. Prints the tables, then one JSON line with
each goal and whether it is met; `--out` puts the tables between the marks of that file. With
`--parts` only some of it is measured: `sparse` and `full` (rows of the first table, of the codecs
and of what keeps the whole distribution), `unbiased`, `states`.

    lean         <= 36 bytes, squared error <= 0.45 of RS-KD's at 36 bytes
    any          <= 75 bytes for a grid of three temperatures
    recommended  <= 100 bytes; angle <= 2 degrees early and <= 7 late; norms within 0.98 to 1.02
"""

import json
import os
import shutil
import signal as signals
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tyro

from bench import _full, _sparse, _states
from bench._sparse import Codec, Measured, Positions
from limbeck.config.errors import LimbeckError
from limbeck.labels import SparseSignal
from limbeck.records.dataset import open_dataset
from limbeck.records.examples import attention_mask, segment_ids
from limbeck.teachers import load_teacher
from limbeck.weights.load import load_model

BEGIN, END = "<!-- tables of bench.codecs -->", "<!-- end of the tables -->"
GRID = (1.0, 2.0, 4.0)
ROWS_AT_A_TIME = 32
NUM_OTHERS = 1024  # positions behind the measured ones, on which codecs are fitted
Part = Literal["sparse", "full", "unbiased", "states"]
PARTS: tuple[Part, ...] = ("sparse", "full", "unbiased", "states")
LEAN, ANY, DEFAULT = "lean 1/32", "any 1/14", "recommended: lean 1/120"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the benchmark."""

    demo: str = "runs/demo"
    """What `make demo` left."""
    early: str = ""
    """Folder of a student after 5 % of its steps; trained from the demo's run when left out."""
    positions: int = 4096
    """Held-out positions to measure at."""
    seeds: int = 20
    """Seeds of what is drawn; the median is told."""
    keys: int = 2048
    """Seeds of the test of unbiasedness."""
    parts: tuple[Part, ...] = PARTS
    """What to measure."""
    out: str = ""
    """Markdown file with the marks; its tables are replaced. Not with some of the parts only."""


def codecs() -> list[Codec]:
    """The rows of the table."""

    def lean(one_in: int) -> SparseSignal:
        return SparseSignal(threshold=1 / one_in, sample=True, form="lean", temperatures=(1.0,))

    return [
        Codec(name="lean top 8", signal=SparseSignal(k=8, form="lean", temperatures=(1.0,))),
        Codec(name=LEAN, signal=lean(32)),
        Codec(name="top 13", signal=SparseSignal(k=13, temperatures=GRID)),
        Codec(name=ANY, signal=SparseSignal(threshold=1 / 14, sample=True, temperatures=GRID)),
        Codec(name="top 20", signal=SparseSignal(k=20, temperatures=GRID)),
        Codec(name="threshold 1/120, bucket", signal=SparseSignal(threshold=1 / 120)),
        Codec(name=DEFAULT, signal=lean(120)),
        Codec(name="top 64", signal=SparseSignal(k=64, temperatures=GRID)),
        Codec(name="lean 1/400", signal=lean(400)),
    ]


def main(options: Options) -> int:
    """Measures, prints, writes."""
    demo = Path(options.demo)
    if not (demo / "teacher").is_dir():
        print(f"{demo}: no demo there; run `make demo` first, or name one with --demo")
        return 2
    if options.out and set(options.parts) != set(PARTS):
        print("--out replaces all tables; leave out --parts, or --out")
        return 2
    rows: list[Measured] = []
    lines: list[str] = []
    if set(options.parts) & {"sparse", "full", "unbiased"}:
        with tempfile.TemporaryDirectory() as work:
            early = Path(options.early or train_early(demo, Path(work)))
            data, fitted_on = collect(demo, early, options.positions)
        rows = gradient_rows(demo, data, fitted_on, options)
        lines += [gradient_table(rows, data, options)] if rows else []
        lines += [unbiased_lines(data, options)] if "unbiased" in options.parts else []
    if "states" in options.parts:
        lines += [table.markdown() for table in state_tables(demo)]
    text = "\n".join(lines)
    print(text)
    if options.out:
        write_between_marks(Path(options.out), text)
    if "sparse" in options.parts:
        print(json.dumps(goals(rows)))
    return 0


def gradient_rows(
    demo: Path, data: Positions, fitted_on: np.ndarray, options: Options
) -> list[Measured]:
    """The rows of the first table."""
    rows = []
    if "sparse" in options.parts:
        rows = [_sparse.measure(codec, data, fitted_on, seeds=options.seeds) for codec in codecs()]
        rows[1:1] = rs_kd(data, options.seeds)
    if "full" in options.parts:
        states = _full.collect(demo, len(data.rows), NUM_OTHERS)
        rows += [*_full.measure(states, data), _full.full_row(data)]
    return rows


def train_early(demo: Path, work: Path) -> Path:
    """Repeats the first 5 % of the demo student's run, one rank, and exports what it has then."""
    config = json.loads((demo / "runs/student/config.json").read_text())
    steps = max(1, config["training"]["steps"] // 20)
    config["training"] |= {"checkpoint_every": steps, "keep_checkpoints": 1000}
    recipe, run = work / "early.yaml", work / "run"
    recipe.write_text(json.dumps(config))
    base = demo.resolve().parent.parent  # its paths begin with runs/demo
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    command = [sys.executable, "-m", "train", "run", str(recipe), "--run-dir", str(run)]
    process = subprocess.Popen(command, cwd=base, env=environment, stdout=subprocess.DEVNULL)
    wanted = run / f"checkpoints/step-{steps:08d}.safetensors"
    while process.poll() is None and not wanted.exists():
        time.sleep(0.2)
    process.send_signal(signals.SIGTERM)  # it stops at the next step and may leave that one too
    process.wait()
    if not wanted.exists():
        raise LimbeckError(f"{demo}: the student's run cannot be repeated; name one with --early")
    for checkpoint in wanted.parent.glob("step-*.safetensors"):
        if checkpoint != wanted:
            checkpoint.unlink()
    out = work / "early"
    export = [sys.executable, "-m", "train", "export", str(run), "--out", str(out)]
    subprocess.run(export, cwd=base, env=environment, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(run)
    return out


def collect(demo: Path, early: Path, num_positions: int) -> tuple[Positions, np.ndarray]:
    """Logits of teacher and students at held-out positions, and the teacher's at others."""
    examples = open_dataset(str(demo / "examples/heldout"), kind="examples")
    rows = examples.read(np.arange(examples.num_rows))
    used = np.arange(rows["mask_positions"].shape[1]) < rows["num_masked"][:, None]
    row, slot = np.nonzero(used)
    tokens, true_ids = rows["mask_positions"][row, slot], rows["mask_ids"][row, slot]
    wanted = slice(0, num_positions)
    last = int(row[wanted][-1]) + 1
    data = Positions(
        keys=rows["key"][:last],
        rows=row[wanted],
        tokens=tokens[wanted].astype(np.int64),
        true_ids=true_ids[wanted].astype(np.int64),
        teacher=logits_of(demo / "teacher", rows, row[wanted], tokens[wanted]),
        students={
            "early": logits_of(early, rows, row[wanted], tokens[wanted]),
            "late": logits_of(demo / "student", rows, row[wanted], tokens[wanted]),
        },
    )
    others = slice(num_positions, num_positions + NUM_OTHERS)
    return data, logits_of(demo / "teacher", rows, row[others], tokens[others])


def logits_of(
    folder: Path, rows: dict[str, np.ndarray], row: np.ndarray, tokens: np.ndarray
) -> np.ndarray:
    """(M, V) float32 of a masked LM at positions of rows."""
    model, _ = load_model(folder)
    ids, counts = rows["ids"].astype(np.int32), rows["num_tokens"]
    segments = segment_ids(counts, rows["segment_split"], ids.shape[1]).astype(np.int32)
    mask = attention_mask(counts, ids.shape[1]).astype(np.int32)
    parts = []
    for first in range(int(row[0]), int(row[-1]) + 1, ROWS_AT_A_TIME):
        at = slice(first, first + ROWS_AT_A_TIME)
        here = (row >= first) & (row < first + ROWS_AT_A_TIME)
        states = model.encode(ids[at], segments[at], mask[at]).last.numpy()
        parts.append(model.logits(states[row[here] - first, tokens[here]]).numpy())
    return np.concatenate(parts)


def rs_kd(data: Positions, seeds: int) -> list[Measured]:
    """RS-KD with its own 50 draws, and with as many as fit 36 bytes."""
    for num_draws in range(12, 51):
        found = _sparse.measure_rs_kd(data, num_draws=num_draws, seeds=1)
        if found.num_bytes >= 36.0:
            break
    return [_sparse.measure_rs_kd(data, num_draws=n, seeds=seeds) for n in (num_draws, 50)]


def gradient_table(rows: list[Measured], data: Positions, options: Options) -> str:
    """What the codecs do to gradients, in Markdown."""
    heads = [f"{s} T={t:g}" for t in GRID for s in data.students]
    lines = [
        f"Codecs at {len(data.rows):,} held-out positions; medians of {options.seeds} "
        "seeds. Cells: angle in degrees, ratio of norms.",
        "",
        "| codec | bytes | squared error | " + " | ".join(heads) + " |",
        "|" + "---|" * (3 + len(heads)),
    ]
    for row in rows:
        error = "" if row.squared_error is None else f"{row.squared_error:.2e}"
        cells = [
            "{:.2f}, {:.3f}".format(*row.gradients[s, t]) if (s, t) in row.gradients else ""
            for t in GRID
            for s in data.students
        ]
        lines.append(f"| {row.name} | {row.num_bytes:.1f} | {error} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def unbiased_lines(data: Positions, options: Options) -> str:
    """The test of unbiasedness in words."""
    lines = [f"Unbiasedness over {options.keys:,} seeds at 16 positions, of what is drawn:", ""]
    chosen = [codec for codec in codecs() if codec.name in (DEFAULT, ANY)]
    for codec in chosen:
        for temperature in codec.signal.temperatures:
            deviation, beyond = _sparse.unbiasedness(
                codec.signal, data, temperature=temperature, num_positions=16, seeds=options.keys
            )
            lines.append(
                f"* {codec.name}, T = {temperature:g}: (mean - p) / sigma has a standard deviation "
                f"of {deviation:.3f}, and {beyond:.3%} of ids are beyond 4."
            )
    return "\n".join([*lines, ""])


def state_tables(demo: Path) -> list[_states.Table]:
    """The codecs of states."""
    teacher = load_teacher(demo / "teacher", backend="keras")
    examples = open_dataset(str(demo / "examples/heldout"), kind="examples")
    middle, last = teacher.facts.num_layers // 2, teacher.facts.num_layers
    seen, others = (
        _states.collect(teacher, examples, rows, layers=(0, middle, last))
        for rows in (np.arange(128), np.arange(128, 256))
    )
    return _states.tables(others, seen, basis_layer=last)


def write_between_marks(path: Path, text: str) -> None:
    """Replaces what stands between the marks of a file."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise LimbeckError(f"{path}: the marks {BEGIN} and {END} are not both there")
    path.write_text(f"{before}{BEGIN}\n{text.strip()}\n{END}{after}")


def goals(rows: list[Measured]) -> dict[str, object]:
    """What was to be reached, and what was."""
    named = {row.name: row for row in rows}
    peer = next(row for row in rows if row.name.startswith("RS-KD"))
    lean, default = named[LEAN], named[DEFAULT]
    assert lean.squared_error is not None and peer.squared_error is not None
    ratio = lean.squared_error / peer.squared_error
    (early, early_norm), (late, late_norm) = (
        default.gradients["early", 1.0],
        default.gradients["late", 1.0],
    )
    norms = all(0.98 <= norm <= 1.02 for norm in (early_norm, late_norm))
    return {
        "lean_bytes": round(lean.num_bytes, 1),
        "lean_error_ratio": round(ratio, 3),
        "lean_met": lean.num_bytes <= 36.0 and ratio <= 0.45,
        "any_bytes": round(named[ANY].num_bytes, 1),
        "any_met": named[ANY].num_bytes <= 75.0,
        "default_bytes": round(default.num_bytes, 1),
        "default_degrees": [round(early, 2), round(late, 2)],
        "default_norms": [round(early_norm, 3), round(late_norm, 3)],
        "default_met": default.num_bytes <= 100.0 and early <= 2.0 and late <= 7.0 and norms,
    }


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Options)))
