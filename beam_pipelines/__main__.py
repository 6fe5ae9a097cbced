"""`python -m beam_pipelines VERB ...`: the same as `python -m beam_pipelines.VERB ...`."""

from beam_pipelines import (
    audit,
    examples,
    labels,
    tasks,
    text,
    token_counts,
    vocabulary,
    wikipedia,
)
from limbeck.config.command import dispatch

if __name__ == "__main__":
    dispatch(
        "beam_pipelines",
        {
            "wikipedia": (wikipedia.main, "a Wikipedia dump -> documents"),
            "text": (text.main, "text files -> documents"),
            "examples": (examples.main, "documents -> examples of any kind, train and held-out"),
            "tasks": (tasks.main, "labelled files -> examples of a task"),
            "vocabulary": (vocabulary.main, "documents -> a tokenizer trained on them"),
            "token_counts": (token_counts.main, "documents -> how often each token stands in them"),
            "audit": (audit.main, "what cleaning left over in documents"),
            "labels": (labels.main, "label examples on many machines"),
        },
    )
