"""`python -m train`: train, plan, evaluate, predict, export, report."""

from limbeck.config.command import dispatch
from train.commands import VERBS

if __name__ == "__main__":
    dispatch(
        "train",
        VERBS,
        description="Train students from stored labels. Start `run` plainly or under mpirun.",
    )
