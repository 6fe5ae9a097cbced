"""`python -m beam_pipelines VERB ...`: the same as `python -m beam_pipelines.VERB ...`."""

from beam_pipelines import examples, labels, text, token_counts, vocabulary, wikipedia
from limbeck.config.command import dispatch

if __name__ == "__main__":
    dispatch(
        "beam_pipelines",
        {
            "wikipedia": (wikipedia.main, "a Wikipedia dump -> documents"),
            "text": (text.main, "text files -> documents"),
            "examples": (examples.main, "documents -> masked examples, train and held-out"),
            "vocabulary": (vocabulary.main, "(later) train a vocabulary"),
            "token_counts": (token_counts.main, "(later) count tokens"),
            "labels": (labels.main, "(later) label examples on many machines"),
        },
    )
