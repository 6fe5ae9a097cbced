"""What can be asked of task rows, and which options each task and format takes."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from limbeck.config.errors import UsageError
from limbeck.records.examples import kind_layout
from limbeck.records.layout import Layout

__all__ = ["TaskFormat", "TaskName", "TaskSettings"]

TaskName = Literal["classification", "multi-label", "regression", "tagging", "qa"]
TaskFormat = Literal["tsv", "csv", "jsonl", "conll", "squad"]

# Name of the way rows are made: raise a number with any change of output.
_RECIPES: dict[TaskName, str] = {
    "classification": "classification-1",
    "multi-label": "multi-label-1",
    "regression": "regression-1",
    "tagging": "tagging-1",
    "qa": "qa-windows-1",
}


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """How rows are read and made into examples."""

    task: TaskName
    """What a row is asked: classification, one label; multi-label, any number of them; regression,
    a number; tagging, a tag for each word; qa, the span of a context that answers a question."""
    format: TaskFormat = "tsv"
    """tsv: no quoting; csv: quoted as spreadsheets do; jsonl: an object a line; conll: a word a
    line; squad: SQuAD's JSON, 1.1 and 2.0."""
    header: bool = True
    """tsv and csv: the first line names the columns. Without one they are numbered from 1."""
    text: str = "text"
    """Column (or member) of the text or of its words. conll: a number, the first by default."""
    text_pair: str = ""
    """Column of the second text; empty for rows of one text."""
    label: str = "label"
    """Column of the label, or of the words' tags. conll: a number, the last by default."""
    label_separator: str = ","
    """multi-label in tables: stands between the labels of a row."""
    labels: tuple[str, ...] = ()
    """Names of the labels, in the order of their numbers. Empty: those of the files, sorted."""
    max_seq_length: int = 128
    """Tokens of a row, special ones included."""
    max_query_length: int = 64
    """qa: tokens of the question; the rest is left out."""
    doc_stride: int = 128
    """qa: tokens of the context from the start of one window to the next."""
    label_all_pieces: bool = False
    """tagging: every piece of a word gets its tag, not just the first."""

    def __post_init__(self) -> None:
        """Checks every setting, and that each has an effect."""
        _check("max_seq_length", self.max_seq_length, 5, 65535)
        _check("max_query_length", self.max_query_length, 1, 65535)
        _check("doc_stride", self.doc_stride, 1, 65535)
        if (self.task == "qa") != (self.format == "squad"):
            raise UsageError(f"--task {self.task} cannot be read from --format {self.format}")
        if self.format == "conll" and self.task != "tagging":
            raise UsageError(f"--task {self.task} cannot be read from --format conll")
        if len(set(self.labels)) < len(self.labels):
            twice = next(name for name in self.labels if self.labels.count(name) > 1)
            raise UsageError(f"--labels names {twice!r} twice")
        used = self.options
        for field in dataclasses.fields(self):
            default = field.default
            if field.name not in used and getattr(self, field.name) != default:
                raise UsageError(
                    f"--{field.name.replace('_', '-')} has no effect with --task {self.task} "
                    f"--format {self.format}"
                )

    @property
    def has_labels(self) -> bool:
        """Whether the answers have names."""
        return self.task in ("classification", "multi-label", "tagging")

    @property
    def options(self) -> frozenset[str]:
        """Names of the settings that have an effect."""
        names = {"task", "format", "max_seq_length"}
        if self.task == "qa":
            return frozenset(names | {"max_query_length", "doc_stride"})
        names |= {"text", "label"}
        if self.format in ("tsv", "csv"):
            names.add("header")
        if self.task == "tagging":
            names.add("label_all_pieces")
        else:
            names.add("text_pair")
        if self.has_labels:
            names.add("labels")
        if self.task == "multi-label":
            names.add("label_separator")
        return frozenset(names)

    def layout(self, *, vocab_size: int, num_labels: int) -> Layout:
        """Returns the layout of the examples."""
        return kind_layout(
            self.task,
            seq_length=self.max_seq_length,
            vocab_size=vocab_size,
            num_labels=num_labels if self.task == "multi-label" else None,
        )

    def content(self) -> dict[str, Any]:
        """Returns what the manifest says, beside the labels."""
        names = sorted(self.options - {"task", "labels"})
        facts = {"example_kind": self.task, "recipe": _RECIPES[self.task]}
        return facts | {name: getattr(self, name) for name in names}


def _check(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise UsageError(f"{name} is {value}; it must be from {low} to {high}")
