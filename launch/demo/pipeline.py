"""The demonstration, step by step: what is run, with which sizes, into which directories."""

import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launch.data import data_dir
from launch.demo.plot import plot
from launch.demo.report import checks, table, write
from launch.demo.scale import Scale
from launch.demo.sentences import SENTENCES
from launch.environment import cache_dir, project_root
from launch.holding import BASE_LOCK, holding
from launch.steps import Steps
from limbeck import __version__
from limbeck.config.errors import LimbeckError
from limbeck.records.dataset import open_dataset
from limbeck.records.files import fsync_directory

NUM_STEPS = 16
TRAINED = ("student", "baseline")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Demo:
    """One demonstration: a scale and the directory that all of its output goes to."""

    scale: Scale
    """How much is done."""
    out: Path
    """Directory for everything that is made."""

    def path(self, *parts: str) -> str:
        """Returns a path below the output directory, as the commands take it."""
        return str(self.out.joinpath(*parts))

    def recipe(self, name: str) -> str:
        """Returns the path of one of the demo's recipes."""
        return os.path.relpath(project_root() / "recipes" / "demo" / f"{name}.yaml")


def run_demo(demo: Demo) -> dict[str, Any]:
    """Runs every step, prints the table, writes report.json and report.png.

    A step that is complete says so and takes no time, so an interrupted demo goes on.

    Returns:
      The report; `report["checks"]` says whether it holds what it promises.

    Raises:
      LimbeckError: a step failed.
    """
    with holding(demo.out, file=BASE_LOCK) as lock:  # recipes make parts of it too
        return _run_steps(
            demo, Steps(log_directory=demo.out / "logs", total=NUM_STEPS, keep_open=(lock,))
        )


def _run_steps(demo: Demo, steps: Steps) -> dict[str, Any]:
    started = time.monotonic()
    prepare_documents(demo, steps)
    prepare_examples(demo, steps)
    tune_teacher(demo, steps)
    extract_labels(demo, steps)
    distil(demo, steps)
    steps.run(
        "export-student",
        "export the student as a folder that other libraries load",
        ["train", "export", demo.path("runs", "student"), "--out", demo.path("student")],
    )
    report = compare(demo, steps)
    report["seconds"] = {**steps.seconds, "total": time.monotonic() - started}
    write(report, demo.out / "report.json")
    curves = {name: demo.out / "runs" / name / "metrics.jsonl" for name in TRAINED}
    plot(report, demo.out / "report.png", curves=curves)
    return report


def prepare_documents(demo: Demo, steps: Steps) -> None:
    """Dump -> documents."""
    steps.run(
        "wikipedia",
        "read and clean the Wikipedia dump",
        ["beam_pipelines.wikipedia", "--dump", str(data_dir() / "enwiki-sample.xml.bz2")]
        + ["--out", demo.path("documents"), "--workers", "2"],
    )


def prepare_examples(demo: Demo, steps: Steps, *, name: str = "examples") -> None:
    """Documents -> masked sentence pairs, in a directory of that name."""
    scale = demo.scale
    steps.run(
        name,
        "cut, pair and mask the sentences",
        ["beam_pipelines.examples", "--documents", demo.path("documents")]
        + ["--vocab", str(encoder()), "--out", demo.path(name), "--workers", "2"]
        + ["--max-seq-length", str(scale.seq_length), "--seed", "1"]
        + ["--max-predictions-per-seq", str(scale.max_predictions)]
        + ["--dupe-factor", str(scale.dupe_factor)]
        + ["--heldout-fraction", str(scale.heldout_fraction)],
    )


def tune_teacher(demo: Demo, steps: Steps) -> None:
    """The pretrained encoder -> a masked-LM teacher; kept in the cache for the next time."""
    title = "tune the masked-LM teacher from the pretrained encoder"
    cached = cache_dir() / "teachers" / teacher_key(demo)
    teacher = demo.out / "teacher"
    if teacher.exists():
        steps.skip("teacher", title, f"{teacher} is there already")
        steps.skip("export-teacher", "export the teacher", "done already")
        return
    if cached.exists():
        steps.skip("teacher", title, f"taken from the cache, {cached}")
        steps.skip("export-teacher", "export the teacher", "taken from the cache")
        copy_folder(cached, teacher)
        return
    steps.run(
        "teacher",
        title,
        ["train", "run", demo.recipe("teacher"), "--run-dir", demo.path("runs", "teacher")]
        + settings(
            {
                "data.examples": demo.path("examples", "train"),
                "model.checkpoint": str(encoder()),
                "training.steps": str(demo.scale.teacher_steps),
            }
        ),
    )
    steps.run(
        "export-teacher",
        "export the teacher",
        ["train", "export", demo.path("runs", "teacher"), "--out", demo.path("teacher")],
    )
    copy_folder(teacher, cached)


def extract_labels(
    demo: Demo, steps: Steps, *, splits: Sequence[str] = ("train", "heldout")
) -> None:
    """The teacher answers once, for the training and the held-out examples."""
    titles = {
        "train": "run the teacher once over the training examples",
        "heldout": "run it over the held-out examples, for the comparison",
    }
    for split in splits:
        steps.run(
            f"extract-{split}",
            titles[split],
            ["extract", "run", demo.recipe("labels"), "--examples", demo.path("examples", split)]
            + ["--teacher", demo.path("teacher"), "--out", demo.path("labels", split)],
        )


def distil(demo: Demo, steps: Steps) -> None:
    """The student from the labels alone, then the same student without them."""
    titles = {
        "student": "distil the student from the labels on disk",
        "baseline": "train the same student without the teacher",
    }
    for name in TRAINED:
        families = ("sparse", "hidden") if name == "student" else ()
        values = {
            "data.examples": demo.path("examples", "train"),
            "model.checkpoint": str(encoder()),
            "training.steps": str(demo.scale.student_steps),
            **{f"data.labels.{f}": demo.path("labels", "train", f) for f in families},
        }
        steps.run(
            name,
            f"{titles[name]}, {demo.scale.num_ranks} ranks",
            ["train", "run", demo.recipe(name), "--run-dir", demo.path("runs", name)]
            + settings(values),
            ranks=demo.scale.num_ranks,
        )


def compare(demo: Demo, steps: Steps) -> dict[str, Any]:
    """Evaluates all four models on the held-out pages and puts the report together."""
    models = {
        "teacher": demo.path("teacher"),
        "student": demo.path("runs", "student"),
        "baseline": demo.path("runs", "baseline"),
        "unigram": "unigram",
    }
    evaluation = {}
    for name, model in models.items():
        fit = ["--fit", demo.path("examples", "train")] if model == "unigram" else []
        scores = demo.out / "evaluation" / f"{name}.json"
        scores.parent.mkdir(parents=True, exist_ok=True)
        steps.run(
            f"evaluate-{name}",
            f"evaluate the {name} on the held-out pages",
            ["train", "evaluate", model, "--examples", demo.path("examples", "heldout"), *fit]
            + ["--labels", demo.path("labels", "heldout", "sparse"), "--json", str(scores)],
        )
        evaluation[name] = json.loads(scores.read_text())
    predictions = predict(demo, steps, {n: m for n, m in models.items() if m != "unigram"})
    return {
        "scale": demo.scale.name,
        "sizes": dataclasses.asdict(demo.scale),
        "version": __version__,
        **data_facts(demo),
        "evaluation": evaluation,
        "training": {name: training_facts(demo, name) for name in TRAINED},
        "predictions": predictions,
        "checks": [dataclasses.asdict(check) for check in checks(evaluation)],
    }


def predict(demo: Demo, steps: Steps, models: Mapping[str, str]) -> list[dict[str, Any]]:
    """Asks every model for the masked words of three sentences."""
    answers = {}
    for name, model in models.items():
        file = demo.out / "evaluation" / f"{name}-predictions.json"
        steps.run(
            f"predict-{name}",
            f"let the {name} fill masks",
            ["train", "predict", model, *SENTENCES, "--top", "3", "--json", str(file)]
            + ["--tokenizer", demo.path("examples", "tokenizer")],
        )
        answers[name] = json.loads(file.read_text())
    return [
        {"text": text, "guesses": {name: answers[name][i]["masks"][0] for name in answers}}
        for i, text in enumerate(SENTENCES)
    ]


def data_facts(demo: Demo) -> dict[str, Any]:
    """Pages, records and label sizes, as the manifests state them."""
    with open_dataset(demo.out / "documents") as documents:
        pages = documents.content.accounting
    records = {}
    for split in ("train", "heldout"):
        with open_dataset(demo.out / "examples" / split) as examples:
            records[split] = examples.num_rows
    labels = {}
    for name in ("sparse", "hidden"):
        with open_dataset(demo.out / "labels" / "train" / name) as family:
            size = sum(shard.bytes for shard in family.content.shards)
            positions = sum(shard.labelled_positions for shard in family.content.shards)
        labels[name] = {
            "bytes": size,
            "positions": positions,
            "bytes_per_position": size / positions,
        }
    return {"pages": pages, "records": records, "labels": labels}


def training_facts(demo: Demo, name: str) -> dict[str, float]:
    """Speed of one training, over all of its steps but the first lines, which hold compilation."""
    metrics = demo.out / "runs" / name / "metrics.jsonl"
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    speeds = [row for row in rows if "speed/step_s" in row]
    steady = speeds[1:] or speeds
    if not steady:
        raise LimbeckError(f"{metrics}: no line tells the speed of the run")
    seconds = sum(row["speed/step_s"] for row in steady) / len(steady)
    waiting = sum(row["speed/data_share"] for row in steady) / len(steady)
    return {
        "steps": float(speeds[-1]["step"]),
        "ranks": float(demo.scale.num_ranks),
        "steps_per_s": 1.0 / seconds,
        "data_wait": waiting,
    }


def settings(values: Mapping[str, str]) -> list[str]:
    """Returns `--set name=value` for each setting of a recipe that the demo replaces."""
    return [part for name, value in values.items() for part in ("--set", f"{name}={value}")]


def encoder() -> Path:
    """Returns the folder of the pretrained encoder."""
    return data_dir() / "all-minilm-l6-v2"


def teacher_key(demo: Demo) -> str:
    """Names what the tuned teacher depends on: recipe, size, examples, encoder and our version."""
    digest = hashlib.sha256(__version__.encode())
    digest.update((project_root() / "recipes" / "demo" / "teacher.yaml").read_bytes())
    digest.update(str(demo.scale.teacher_steps).encode())
    with open_dataset(demo.out / "examples" / "train") as examples:
        digest.update(examples.id.encode())
    digest.update((encoder() / "model.safetensors").read_bytes())
    return digest.hexdigest()[:32]


def copy_folder(source: Path, target: Path) -> None:
    """Copies a folder so that the target is there whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(source, temporary)
    temporary.rename(target)
    fsync_directory(target.parent)


def finish(report: Mapping[str, Any], demo: Demo) -> int:
    """Prints the table and where everything lies; returns 1 when a check failed."""
    minutes, seconds = divmod(round(report["seconds"]["total"]), 60)
    print(table(report))
    print(f"\n{minutes} min {seconds:02d} s; {demo.path('report.json')}, {demo.path('report.png')}")
    failed = [check["statement"] for check in report["checks"] if not check["holds"]]
    if failed:
        raise LimbeckError(f"the demo does not hold what it promises: {'; '.join(failed)}")
    return 0
