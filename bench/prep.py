"""Preparation, stage by stage and end to end, against the same stages of others, in one run.

    python -m bench.prep [--repeats R] [--copies N] [--parts stages commands google]

stages    one process, all stages on the sample dump, ours and the peers' taking turns:
          read       bytes of XML: prep.dumps; bz2 and ElementTree, as TensorFlow Datasets reads
          clean      wikitext: prep.wikitext; TFDS's rules on mwparserfromhell (bench.cleaning)
          sentences  prose: prep.sentences, in both
          tokens     prose: limbeck.tokens; the `tokenizers` library, encode_batch
          examples   prose: prep.kinds, sentence pairs of length 128, one pass, in both
          Speeds are MB per CPU second of what the stage reads; the ratio is of the whole line.
commands  `beam_pipelines.wikipedia` and `.examples` on a dump of N copies of the pages, with 1
          worker on one core and with 2 workers on two: wall time, start-up included, their ratio,
          and the peak of all processes' memory. (Pinned, since one worker is more than one
          process: pages are cleaned in a guarded child.)
google    the published create_pretraining_data (`pip install --no-deps tf-models-official==2.20.0
          tf-keras==2.21.0`, peers for this measurement only) and `beam_pipelines.examples` on the
          same sentences: CPU seconds of the whole command.

Goals: the line >= 2x of the peers' per core; 2 cores >= 1.8x of 1. Prints one JSON line last.
"""

import bz2
import importlib.util
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
import tokenizers
import tyro

from bench.cleaning import DUMP, PEERS
from limbeck.records.dataset import open_dataset
from limbeck.tokens import load_tokenizer
from prep.dumps.reading import read_pages
from prep.kinds.maker import make_maker
from prep.kinds.rows import TokenisedDocument
from prep.kinds.settings import ExampleSettings
from prep.mediawiki import Page
from prep.sentences import split_sentences
from prep.wikitext import parse_sections

VOCAB = os.path.expanduser("~/.cache/limbeck/data/all-minilm-l6-v2")
STAGES = ("read", "clean", "sentences", "tokens", "examples")
Part = Literal["stages", "commands", "google"]
Side = Literal["ours", "peers"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the benchmark."""

    dump: str = DUMP
    """The sample dump that `make setup` puts there."""
    vocab: str = VOCAB
    """Folder of the tokenizer."""
    repeats: int = 3
    """Rounds of the stages; the commands make one less, for they take long."""
    copies: int = 24
    """Times that the pages stand in the dump of `commands` and `google`."""
    parts: tuple[Part, ...] = ("stages", "commands", "google")
    """What to measure."""


def read_ours(dump: str) -> list[str]:
    """Returns the wikitext of the articles."""
    return [
        page.text
        for page in read_pages(dump)
        if isinstance(page, Page) and page.namespace == 0 and not page.is_redirect and page.text
    ]


def read_peers(dump: str) -> list[str]:
    """The same with the standard library, each page cleared after use."""
    texts = []
    with bz2.open(dump) as file:
        for _, element in ElementTree.iterparse(file):
            if element.tag.rpartition("}")[2] == "page":
                space = element.tag.removesuffix("page")
                text = element.findtext(f"{space}revision/{space}text")
                is_article = element.findtext(f"{space}ns") == "0"
                if is_article and element.find(f"{space}redirect") is None and text:
                    texts.append(text)
                element.clear()
    return texts


def clean_ours(wikitext: str) -> list[str]:
    """Returns the paragraphs."""
    return [p for section in parse_sections(wikitext) for p in section.paragraphs]


def clean_peers() -> Callable[[str], list[str]]:
    """Returns what gives the paragraphs by the peers' rules."""
    clean = PEERS["tfds rules"]()
    return lambda wikitext: [line for line in clean(wikitext).split("\n") if line.strip()]


class Line:
    """All stages of one side, each on what the one before it made."""

    def __init__(self, side: Side, options: Options) -> None:
        tokenizer = load_tokenizer(options.vocab)
        self._dump = options.dump
        self._read = read_ours if side == "ours" else read_peers
        self._clean = clean_ours if side == "ours" else clean_peers()
        self._encode = tokenizer.encode if side == "ours" else _library_encode(options.vocab)
        self._documents: list[TokenisedDocument] = []
        self._maker = make_maker(
            ExampleSettings(dupe_factor=1),
            tokenizer,
            partner=lambda row, value: self._partner(row, value),
        )

    def _partner(self, row: int, value: int) -> Any:
        others = len(self._documents) - 1
        place = value * others >> 64
        return self._documents[place + (place >= row)].sentences

    def run(self) -> dict[str, tuple[float, int]]:
        """Returns for each stage its CPU seconds and the bytes it read."""
        spent: dict[str, tuple[float, int]] = {}

        def timed(stage: str, num_bytes: int, work: Callable[[], Any]) -> Any:
            started = time.process_time()
            result = work()
            spent[stage] = time.process_time() - started, num_bytes
            return result

        with bz2.open(self._dump) as file:
            num_bytes = sum(len(block) for block in iter(lambda: file.read(1 << 20), b""))
        pages = timed("read", num_bytes, lambda: self._read(self._dump))
        num_bytes = sum(len(page.encode()) for page in pages)
        articles = timed("clean", num_bytes, lambda: [self._clean(page) for page in pages])
        num_bytes = sum(len(p.encode()) for paragraphs in articles for p in paragraphs)
        texts = timed("sentences", num_bytes, lambda: [_sentences(a) for a in articles])
        ids = timed("tokens", num_bytes, lambda: [self._encode(sentences) for sentences in texts])
        self._documents = [
            TokenisedDocument(row=row, key=row.to_bytes(16), sentences=[s for s in document if s])
            for row, document in enumerate(d for d in ids if any(d))
        ]
        timed("examples", num_bytes, lambda: self._maker.make(self._documents))
        return spent


def _sentences(paragraphs: list[str]) -> list[str]:
    return [s for p in paragraphs for s in split_sentences(p, language="en")]


def _library_encode(vocab: str) -> Callable[[list[str]], list[list[int]]]:
    engine = tokenizers.BertWordPieceTokenizer(os.path.join(vocab, "vocab.txt"), lowercase=True)
    return lambda texts: [e.ids for e in engine.encode_batch(texts, add_special_tokens=False)]


def stages(options: Options) -> dict[str, Any]:
    """Measures every stage of both sides."""
    lines: dict[Side, Line] = {"ours": Line("ours", options), "peers": Line("peers", options)}
    rounds: dict[Side, list[dict[str, tuple[float, int]]]] = {"ours": [], "peers": []}
    for _ in range(options.repeats):
        for side, line in lines.items():
            rounds[side].append(line.run())
    print(f"{'MB per CPU second':<20} {'ours':>8} {'peers':>8}")
    found: dict[str, Any] = {}
    for stage in STAGES:
        speed = {
            side: statistics.median(r[stage][1] / 1e6 / max(r[stage][0], 1e-9) for r in runs)
            for side, runs in rounds.items()
        }
        found[stage] = {side: round(value, 2) for side, value in speed.items()}
        print(f"{stage:<20} {speed['ours']:>8.2f} {speed['peers']:>8.2f}")
    seconds = {
        side: [sum(seconds for seconds, _ in run.values()) for run in runs]
        for side, runs in rounds.items()
    }
    ratio = statistics.median(
        peers / ours for ours, peers in zip(seconds["ours"], seconds["peers"], strict=True)
    )
    print(f"the whole line, peers' time / ours: {ratio:.2f} (goal 2)")
    return {**found, "ratio": round(ratio, 2)}


def copies_of(dump: str, copies: int, out: Path) -> None:
    """Writes the dump with its pages several times, each with an id of its own."""
    with bz2.open(dump, "rt", encoding="utf-8") as file:
        head, *pages = re.split(r"(?=<page>)", file.read())
    numbered = re.compile(r"(?<=<id>)\d+(?=</id>)")
    with bz2.open(out, "wt", encoding="utf-8") as file:
        file.write(head)
        number = 0
        for _ in range(copies):
            for page in pages:
                number += 1
                text = page.removesuffix("\n").removesuffix("</mediawiki>")
                file.write(numbered.sub(str(number), text, count=1))
        file.write("</mediawiki>\n")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a command took."""

    wall_s: float
    """From start to end."""
    cpu_s: float
    """Of all its processes."""
    peak_mb: float
    """Resident memory of all its processes together, at most; sampled."""


def run(*command: object, cores: int = 0) -> Cost:
    """Runs a command, on that many cores (0: all), and watches it."""
    allowed = sorted(os.sched_getaffinity(0))[: cores or None]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, allowed),
    )
    peak = [0]
    watch = threading.Thread(target=lambda: _sample(process, peak))
    watch.start()
    error = process.communicate()[1]
    watch.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: {error.decode()[-500:]}")
    wall_s = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall_s=wall_s, cpu_s=cpu_s, peak_mb=peak[0] / 1e6)


def _sample(process: "subprocess.Popen[bytes]", peak: list[int]) -> None:
    while process.poll() is None:
        peak[0] = max(peak[0], sum(_resident(psutil.Process(process.pid))))
        time.sleep(0.1)


def _resident(process: psutil.Process) -> Iterator[int]:
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        try:
            yield member.memory_info().rss
        except psutil.NoSuchProcess:
            continue


def commands(options: Options, root: Path) -> dict[str, Any]:
    """Measures the two commands with 1 and 2 workers."""
    dump = root / "copies.xml.bz2"
    copies_of(options.dump, options.copies, dump)
    found: dict[str, Any] = {}
    for name in ("wikipedia", "examples"):
        walls: dict[int, list[float]] = {1: [], 2: []}
        peaks: dict[int, float] = {1: 0, 2: 0}
        for _ in range(max(1, options.repeats - 1)):
            for workers in (1, 2):
                out = root / name
                shutil.rmtree(out, ignore_errors=True)
                command = (*_command(name, root, options), "--out", out, "--workers", workers)
                cost = run(*command, cores=workers)
                walls[workers].append(cost.wall_s)
                peaks[workers] = max(peaks[workers], cost.peak_mb)
        ratio = statistics.median(a / b for a, b in zip(walls[1], walls[2], strict=True))
        one, two = (statistics.median(walls[workers]) for workers in (1, 2))
        print(
            f"{name:<10} {one:6.1f} s on 1 core, {two:6.1f} s on 2: {ratio:.2f}x (goal 1.8); "
            f"peak memory {peaks[1]:.0f} and {peaks[2]:.0f} MB"
        )
        found[name] = {
            "wall_s": [round(one, 1), round(two, 1)],
            "ratio": round(ratio, 2),
            "peak_mb": [round(peaks[1]), round(peaks[2])],
        }
    return found


def _command(name: str, root: Path, options: Options) -> list[object]:
    if name == "wikipedia":
        return ["-m", "beam_pipelines.wikipedia", "--dump", root / "copies.xml.bz2"]
    return [
        *("-m", "beam_pipelines.examples", "--documents", root / "wikipedia"),
        *("--vocab", options.vocab, "--dupe-factor", 1),
    ]


GOOGLE = """
from absl import app
from official.nlp.data import create_pretraining_data
app.run(create_pretraining_data.main)
"""


def google(options: Options, root: Path) -> dict[str, Any]:
    """Measures the published script and our command on the same sentences."""
    if importlib.util.find_spec("official") is None or importlib.util.find_spec("tf_keras") is None:
        print("google: tf-models-official or tf-keras is not installed; left out")
        return {}
    lines = root / "sentences.txt"
    with (
        open_dataset(str(root / "wikipedia"), kind="documents") as documents,
        open(lines, "w", encoding="utf-8") as file,
    ):
        for row in range(documents.num_rows):
            file.write("\n".join(documents.record(row)["sentences"]) + "\n\n")
    theirs = run(
        *("-c", GOOGLE, f"--input_file={lines}", f"--output_file={root / 'google.tfrecord'}"),
        *(f"--vocab_file={os.path.join(options.vocab, 'vocab.txt')}", "--do_lower_case=True"),
        *("--max_seq_length=128", "--max_predictions_per_seq=20", "--dupe_factor=1"),
    )
    shutil.rmtree(root / "examples", ignore_errors=True)
    ours = run(*_command("examples", root, options), "--out", root / "examples")
    ratio = theirs.cpu_s / ours.cpu_s
    print(
        f"google     {theirs.cpu_s:.1f} CPU s and {theirs.peak_mb:.0f} MB, ours {ours.cpu_s:.1f} "
        f"and {ours.peak_mb:.0f}: {ratio:.2f}x"
    )
    return {"cpu_s": [round(theirs.cpu_s, 1), round(ours.cpu_s, 1)], "ratio": round(ratio, 2)}


def main(options: Options) -> None:
    """Measures what is asked for."""
    found: dict[str, Any] = {}
    if "stages" in options.parts:
        found["stages"] = stages(options)
    with tempfile.TemporaryDirectory(prefix="bench-prep-") as directory:
        root = Path(directory)
        if {"commands", "google"} & set(options.parts):
            found["commands"] = commands(options, root)
        if "google" in options.parts:
            found["google"] = google(options, root)
    print(json.dumps(found, sort_keys=True))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
