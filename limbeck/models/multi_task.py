"""Several tasks on one encoder, and a masked LM beside them where wanted.

Variables are named as those of any masked LM; those of the task NAME begin with `task_NAME/`.
"""

# B rows, T tokens, D hidden, C outputs

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import tensorflow as tf

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.models.basic import Layer
from limbeck.models.build import head_rate
from limbeck.models.dropout import DropoutKeys
from limbeck.models.encoder import Encoder
from limbeck.models.heads.dropped import DroppedDense
from limbeck.models.heads.sentence import SentenceClassifier, reads_pooled
from limbeck.models.masked_lm import MaskedLM
from limbeck.models.output import EncoderOutput

__all__ = ["HEAD_OF_TASK", "MultiTask", "Task", "multi_task", "task_prefix"]

TaskKind = Literal["classification", "tagging", "span", "next_sentence"]

HEAD_OF_TASK = {
    "classification": "classifier",
    "tagging": "token_classifier",
    "span": "question_answering",
    "next_sentence": "next_sentence",
}
"""Kind of a task -> head of `limbeck.models.build` that does it alone."""

_PARTS = {
    "classification": "classifier",
    "tagging": "classifier",
    "span": "span",
    "next_sentence": "next_sentence",
}


class Task(NamedTuple):
    """One task."""

    kind: TaskKind
    """What it answers."""
    num_labels: int
    """C."""


class MultiTask(MaskedLM):
    """An encoder with a head for each of several tasks.

    Args:
      encoder: as in EncoderModel.
      tasks: by name.
      language: whether it has a masked LM's head too; without, there are no `logits`.
    """

    def __init__(
        self, encoder: Encoder, tasks: Mapping[str, Task], *, language: bool = False, **kwargs: Any
    ) -> None:
        shape = encoder.architecture
        kinds = {task.kind for task in tasks.values()}
        pooler = "next_sentence" in kinds or ("classification" in kinds and reads_pooled(shape))
        super().__init__(encoder, name="multi_task", pooler=pooler, **kwargs)
        self.language = language
        self.tasks = dict(tasks)
        self.task_layers = [
            _layer(shape, name, task, number=2 * index)
            for index, (name, task) in enumerate(tasks.items())
        ]

    def heads(self) -> tuple[Layer, ...]:
        """The masked LM's where there is one, then the tasks' in their order."""
        return (*([self.head] if self.language else []), *self.task_layers)

    def task_logits(
        self, name: str, encoded: EncoderOutput, *, dropout: DropoutKeys | None = None
    ) -> tf.Tensor:
        """Logits of a task: (B, C) float32 of rows, or (B, T, C) of tokens.

        Args:
          name: of the task.
          encoded: of `encode`, with pooled output where the model has a pooler.
          dropout: as there.
        """
        kind = self.tasks[name].kind
        layer = self.task_layers[list(self.tasks).index(name)]
        if kind in ("tagging", "span"):
            return layer(encoded.last, dropout=dropout)
        if kind == "classification" and not reads_pooled(self.architecture):
            return layer(encoded.last[:, 0], dropout=dropout)
        return layer(encoded.pooled, dropout=dropout)

    def call(  # type: ignore[override]
        self,
        ids: tf.Tensor,
        segment_ids: tf.Tensor,
        attention_mask: tf.Tensor,
        *,
        dropout: DropoutKeys | None = None,
    ) -> Any:
        """Logits by task; arguments as in `encode`."""
        pooled = self.pooler is not None
        encoded = self.encode(ids, segment_ids, attention_mask, dropout=dropout, pooled=pooled)
        return {name: self.task_logits(name, encoded, dropout=dropout) for name in self.tasks}


def multi_task(
    architecture: EncoderArchitecture, tasks: Mapping[str, Task], *, language: bool = False
) -> MultiTask:
    """Makes a model whose weights are still to be assigned."""
    model = MultiTask(Encoder(architecture), tasks, language=language)
    model.build()
    return model


def task_prefix(name: str, kind: TaskKind) -> tuple[str, str]:
    """Starts of a task's variables: here, and in a model that does it alone."""
    return f"task_{name}/", f"{_PARTS[kind]}/"


def _layer(shape: EncoderArchitecture, name: str, task: Task, *, number: int) -> Layer:
    rate = head_rate(shape, HEAD_OF_TASK[task.kind])
    options: dict[str, Any] = {"rate": rate, "number": number, "name": f"task_{name}"}
    if task.kind == "classification":
        return SentenceClassifier(shape, num_labels=task.num_labels, **options)
    return DroppedDense(shape.hidden_dim, task.num_labels, **options)
