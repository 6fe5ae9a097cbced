"""`extract inspect`: lines for the terminal, and a page with plots of what families hold."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from extract.audit_results import Measured, measured_lines
from extract.distributions import Distributions, distributions
from extract.inspection import Family, describe, find_families, open_families
from extract.page_distributions import distribution_section, fullest, token_counts
from extract.page_records import record_section
from extract.page_states import error_section, state_facts, state_section
from extract.report import size_text
from extract.samples import FamilySample, find_examples, find_tokenizer, take_sample
from limbeck import __version__
from limbeck.config.command import before_work
from limbeck.config.errors import UsageError
from limbeck.labels import to_dict
from limbeck.pages import Bar, Page, Section, bar_chart, figure_row, table, write_page
from limbeck.records.dataset import Dataset
from limbeck.records.directory import JOB
from limbeck.records.manifest import MANIFEST
from limbeck.teachers import BackendChoice
from limbeck.tokens import Tokenizer

__all__ = ["NO_PAGE", "InspectSettings", "build_page", "inspect_labels"]

NO_PAGE = "none"


@dataclass(frozen=True, kw_only=True)
class InspectSettings:
    """What is looked at, and where the page goes."""

    directory: str
    """A finished label family, or a directory with several of one teacher."""
    examples: str = ""
    """The examples it was made from; empty: those that the manifest names, if still there."""
    tokenizer: str = ""
    """Where words come from; empty: the teacher's folder, if still there."""
    teacher: str = ""
    """With it the error of every family is measured."""
    backend: BackendChoice = "auto"
    """What runs the teacher."""
    sample: int = 64
    """Records that are compared with the teacher."""
    rows: int = 2048
    """Records that the plots look at."""
    html: str = ""
    """The page; empty for beside the families, `none` for no page."""

    def __post_init__(self) -> None:
        """Refuses numbers of records that say nothing."""
        for name in ("sample", "rows"):
            if (value := getattr(self, name)) < 1:
                raise UsageError(f"--{name} must be at least 1, got {value}")


def inspect_labels(settings: InspectSettings, *, say: Callable[[str], object] = print) -> str:
    """Says in lines what families hold, and writes the page.

    Args:
      settings: what and where.
      say: takes the lines.

    Returns:
      Path of the page; empty where none was asked for.

    Raises:
      UsageError: no families there, examples or a teacher that are not theirs, a page inside a
        dataset, or a teacher without examples.
      LimbeckError: a damaged record, or labels that belong to other inputs.
    """
    with ExitStack() as stack:
        with before_work():
            find_families(settings.directory)
            path = _page_path(settings)
            families = stack.enter_context(open_families(settings.directory))
            examples = find_examples(families, settings.examples)
            if examples is not None:
                stack.enter_context(examples)
            tokenizer = find_tokenizer(families, settings.tokenizer, teacher=settings.teacher)
            audit = _audit(settings, families, examples)
        measured: dict[str, Sequence[Measured]] = {}
        for family in families:
            for line in describe(family):
                say(line)
            if audit is not None:
                measured[family.name] = found = audit(family)
                count = min(settings.sample, family.dataset.num_rows)
                for line in measured_lines(family.name, found, sample=count):
                    say(line)
        if path:
            write_page(path, build_page(settings, families, examples, tokenizer, measured))
            say(f"page {path}")
    return path


def _audit(
    settings: InspectSettings, families: list[Family], examples: Dataset | None
) -> Callable[[Family], Sequence[Measured]] | None:
    """Loads the teacher, if there is one to ask."""
    if not settings.teacher:
        return None
    if examples is None:
        raise UsageError(
            "--teacher needs the examples, and they are not where they were; give --examples"
        )
    from extract.audit import measure, open_teacher  # loads what runs the teacher

    teacher = open_teacher(settings.teacher, families, backend=settings.backend)
    return lambda family: measure(family, examples, teacher, sample=settings.sample)


def build_page(
    settings: InspectSettings,
    families: Sequence[Family],
    examples: Dataset | None,
    tokenizer: Tokenizer | None,
    measured: Mapping[str, Sequence[Measured]],
) -> Page:
    """Puts the page together.

    Args:
      settings: what was asked for.
      families: opened, at least one.
      examples: theirs, or None.
      tokenizer: theirs, or None.
      measured: family name -> what its audit found; empty without a teacher.
    """
    samples = [take_sample(family, examples, num_rows=settings.rows) for family in families]
    found = [d for d in map(distributions, samples) if d is not None]
    states = [facts for sample in samples for facts in state_facts(sample)]
    content = families[0].dataset.content
    teacher = content.teacher or {}
    vocab_size = int(teacher.get("vocab_size") or 2)
    sections = [_stored(families)]
    if found:
        known = examples is not None and any(one.known.any() for one in found)
        counts = token_counts(examples, vocab_size) if known and examples is not None else None
        sections.append(distribution_section(found, counts, vocab_size=vocab_size))
    if states:
        sections.append(state_section(states))
    sections.append(error_section(states, measured, sample=settings.sample))
    sections.append(_records(samples, found, tokenizer))
    totals = [family.dataset.content.totals for family in families]
    return Page(
        title=f"Labels in {os.path.basename(os.path.abspath(settings.directory))}",
        lead="What a teacher left behind on its examples, and how well it is kept.",
        facts=[
            ("families", str(len(families))),
            ("examples", f"{examples.num_rows if examples else totals[0]['records']:,}"),
            ("bytes", size_text(sum(total["bytes"] for total in totals))),
            ("teacher", _teacher_text(teacher)),
        ],
        sections=sections,
        foot=f"limbeck {__version__}, of {', '.join(f'{f.name} {f.dataset.id}' for f in families)}",
    )


def _stored(families: Sequence[Family]) -> Section:
    rows: list[list[object]] = []
    each, whole = [], []
    for family in families:
        content, signal = family.dataset.content, family.fitted.signal
        totals = content.totals
        positions = totals["labelled_positions"]
        beside = sum(int(one["bytes"]) for one in content.attachments.values())
        per = totals["bytes"] / positions if positions else 0.0
        each.append(Bar(name=family.name, value=per, text=f"{per:,.1f} B"))
        whole.append(Bar(name=family.name, value=totals["bytes"], text=size_text(totals["bytes"])))
        rows.append(
            [
                family.name,
                signal.kind,
                _declared(family),
                signal.positions,
                totals["records"],
                positions,
                f"{per:,.1f}",
                size_text(totals["bytes"]),
                size_text(beside) if beside else "",
            ]
        )
    heads = ["family", "signal", "settings", "at", "records", "positions", "bytes a position"]
    return Section(
        title="Bytes by signal",
        body=[
            figure_row(
                bar_chart("Bytes a labelled position", each, label="bytes"),
                bar_chart("Bytes in total", whole, label="bytes"),
            ),
            table([*heads, "in total", "kept once beside"], rows, caption="What is stored"),
        ],
    )


def _records(
    samples: Sequence[FamilySample], found: Sequence[Distributions], tokenizer: Tokenizer | None
) -> Section:
    main = fullest(found)
    if main is None:
        return Section(title="Records", body=["No family here says what the teacher guessed."])
    (sample,) = (one for one in samples if one.family.name == main.name)
    if sample.examples is None:
        why = "The examples are not where they were; give --examples to see records as text."
        return Section(title="Records", body=[why])
    return record_section(sample, main, tokenizer)


def _declared(family: Family) -> str:
    """What tells a family from others of its kind: its settings that are not the defaults."""
    signal = family.fitted.signal
    shown = {"kind", "positions"}
    parts = []
    for name, value in to_dict(signal).items():
        default = type(signal).__dataclass_fields__[name].default
        plain = list(default) if isinstance(default, tuple) else default
        if name not in shown and (value != plain or name in ("k", "codec")):
            text = ", ".join(f"{v:g}" for v in value) if isinstance(value, list) else value
            parts.append(f"{name} {text}")
    for name, value in family.fitted.chosen.items():
        text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
        parts.append(f"{name}: {text}")
    if "derived_from" in family.dataset.content.settings:
        parts.append(f"derived from {family.dataset.content.settings['derived_from'][:12]}")
    return "; ".join(parts)


def _teacher_text(teacher: Mapping[str, object]) -> str:
    shape = f"{teacher.get('num_layers')} layers x {teacher.get('hidden_dim')}"
    return f"{str(teacher.get('fingerprint'))[:12]}: {shape}, {teacher.get('vocab_size'):,} ids"


def _page_path(settings: InspectSettings) -> str:
    """Where the page goes; '' for nowhere."""
    if settings.html == NO_PAGE:
        return ""
    path = settings.html or _default_path(settings.directory)
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise UsageError(f"--html {path}: no directory {folder}")
    if os.path.isdir(path):
        raise UsageError(f"--html {path}: is a directory; name a file")
    if any(os.path.exists(os.path.join(folder, name)) for name in (JOB, MANIFEST)):
        raise UsageError(
            f"--html {path}: would lie inside a dataset, which holds its own files only; name a "
            "file elsewhere"
        )
    return path


def _default_path(directory: str) -> str:
    whole = os.path.abspath(directory)
    if any(os.path.exists(os.path.join(whole, name)) for name in (JOB, MANIFEST)):
        return os.path.join(os.path.dirname(whole), f"inspect-{os.path.basename(whole)}.html")
    return os.path.join(directory, "inspect.html")
