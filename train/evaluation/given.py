"""What `evaluate`, `predict` and `export` are given, looked at before TensorFlow is loaded."""

from pathlib import Path

from limbeck.config.errors import UsageError
from limbeck.records.dataset import open_dataset
from limbeck.runs import RunDirectory, student_run
from limbeck.tokens import refuse_other_tokenizer
from limbeck.weights.hf_folder import read_any_architecture
from train.checkpoints import checkpoint
from train.evaluation.asked import Asked
from train.reading.families import open_examples

__all__ = ["check_evaluation", "check_model", "check_output", "is_run"]


def is_run(path: str | Path) -> bool:
    """Whether a directory is a run's, rather than a model folder."""
    return RunDirectory(student_run(path)).checkpoints.is_dir()


def check_model(path: str) -> None:
    """Refuses what is neither a model folder nor a run with a checkpoint.

    Raises:
      UsageError: says what is there instead.
      LimbeckError: `config.json` is damaged.
    """
    if not Path(path).is_dir():
        raise UsageError(f"{path}: no such directory; give a model folder or a run's directory")
    if not is_run(path):
        read_any_architecture(path)
    elif not checkpoint.list_checkpoints(RunDirectory(student_run(path)).checkpoints):
        raise UsageError(f"{path}: no checkpoint yet; let the run reach its first one")


def check_output(path: str | None, *, option: str) -> None:
    """Refuses a file that could not be written when all the work is done.

    Raises:
      UsageError: empty, a directory, or below a directory that is not there.
    """
    if path is None:
        return
    if not path:
        raise UsageError(f"{option} is empty; name a file")
    if Path(path).is_dir():
        raise UsageError(f"{option}: {path} is a directory; name a file")
    if not Path(path).absolute().parent.is_dir():
        raise UsageError(f"{option}: {Path(path).parent} is no directory; make it first")


def check_evaluation(asked: Asked) -> None:
    """Refuses what is missing, and examples of another tokenizer than a model folder's.

    Raises:
      LimbeckError: the first thing wrong.
    """
    if asked.fit is None:
        check_model(asked.model)
    for directory in (asked.examples, asked.fit):
        if directory is not None:
            open_examples(directory).close()
    if asked.examples is None:
        if not is_run(asked.model):
            raise UsageError("--examples is missing; only a run names its own")
    elif asked.fit is None and not is_run(asked.model):
        with open_examples(asked.examples) as heldout:
            refuse_other_tokenizer(
                heldout.content.tokenizer,
                examples=asked.examples,
                model=asked.model,
                vocab_size=read_any_architecture(asked.model).vocab_size,
            )
    for directory in asked.families.values():
        open_dataset(directory, kind="labels").close()
