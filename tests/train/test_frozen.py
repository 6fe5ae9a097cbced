"""Frozen variables by name: embeddings, positions, token types, layers."""

import numpy as np
import pytest

from limbeck.config import UsageError, yaml_file
from train.checkpoints import checkpoint
from train.loop import train
from train.recipe import Recipe
from train.students.trained import frozen_names

pytestmark = pytest.mark.usefixtures("deterministic")
NAMES = ["encoder/embeddings/token", "encoder/embeddings/norm/beta", "head/kernel"]


def tensors(run_dir, step):
    path = run_dir / "checkpoints" / checkpoint.file_name(step)
    return checkpoint.load(path).tensors


def test_frozen_embeddings_positions_and_token_types_stay_as_they_were(toy):
    toy.examples()
    plain = toy.recipe(
        optimizer={"warmup_steps": 0, "weight_decay": 0.1},
        training={"steps": 3, "checkpoint_every": 1, "keep_checkpoints": 3},
    )
    frozen = [f"encoder/embeddings/{name}" for name in ("token", "position", "segment")]
    plain["model"]["freeze"] = [*frozen, "encoder/layer_0/attention"]
    train(yaml_file.from_plain(Recipe, plain, "recipe"), toy.root / "run", say=lambda line: None)
    first, last = (tensors(toy.root / "run", step) for step in (1, 3))
    names = {name.removeprefix("model/") for name in first if name.startswith("model/")}
    stayed = {n for n in names if np.array_equal(first[f"model/{n}"], last[f"model/{n}"])}
    attention = {name for name in names if name.startswith("encoder/layer_0/attention/")}
    # Weight decay does not reach them either; what is beside them goes on.
    assert stayed == {*frozen, *attention}
    # The optimiser holds nothing for what is frozen: two slots a trained variable, one counter.
    trained = len(names - stayed)
    assert sum(n.startswith("optimizer/") for n in first) == 2 * trained + 1


@pytest.mark.parametrize(
    ("patterns", "frozen"),
    [
        (("encoder",), NAMES[:2]),
        (("encoder/",), NAMES[:2]),
        (("encoder", "!encoder/embeddings/norm"), NAMES[:1]),
        (("encoder", "!encoder"), []),
        (("!encoder", "encoder"), NAMES[:2]),  # the last word counts
        (("encoder", "!encoder/embeddings", "encoder/embeddings/token"), NAMES[:1]),
    ],
)
def test_later_patterns_win_and_an_exclamation_mark_frees(patterns, frozen):
    assert frozen_names(NAMES, patterns) == {f"model/{name}" for name in frozen}


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (("encoder/embed",), "no variable of the student is or begins with 'encoder/embed'"),
        (("!decoder",), "no variable of the student is or begins with 'decoder'"),
        (("encoder", "head"), "all variables of the student are frozen"),
    ],
)
def test_patterns_that_mean_nothing_or_leave_nothing_are_refused(patterns, message):
    with pytest.raises(UsageError, match=message):
        frozen_names(NAMES, patterns)
