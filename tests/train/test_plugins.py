"""A loss and a projection of one's own, in a file beside the recipe, through all verbs."""

import pytest

from train.checkpoints import checkpoint

PLUGIN = '''\
from dataclasses import dataclass
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from train.formula import formula
from train.projections import projection
from train.recipe import HiddenTerm, register


@register
@dataclass(frozen=True, kw_only=True)
class HuberTerm(HiddenTerm):
    """Huber's loss between states."""

    loss: Literal["huber"] = "huber"
    delta: float = 1.0
    """Where the square becomes a line."""


@formula(HuberTerm)
def huber(given):
    distance = tf.abs(given.student_states() - given.teacher_states())
    delta = given.term.delta
    line = delta * (distance - 0.5 * delta)
    return tf.reduce_mean(tf.where(distance < delta, 0.5 * distance**2, line), axis=-1)


@projection("scaled")
class Scaled:
    """Repeats the states and scales them."""

    def __init__(self, name, *, source_dim, target_dim, seed):
        self.name = name
        self.scale = keras.Variable(np.ones(target_dim, np.float32), name="scale")
        self.times = -(-target_dim // source_dim)

    @property
    def variables(self):
        return {"scale": self.scale}

    def __call__(self, states):
        wide = tf.concat([states] * self.times, axis=-1)[..., : self.scale.shape[0]]
        return wide * self.scale.value
'''


@pytest.fixture(scope="module")
def place(shared_toy):
    root = shared_toy.root
    (root / "own_losses.py").write_text(PLUGIN)
    (root / "tokenizer").mkdir(exist_ok=True)
    (root / "tokenizer" / "vocab.txt").write_text("\n".join(shared_toy.words) + "\n")
    plain = shared_toy.distil(training={"steps": 4, "checkpoint_every": 2})
    plain["plugins"] = [str(root / "own_losses.py")]
    plain["objective"][2] |= {"loss": "huber", "delta": 0.5, "projection": "scaled"}
    return root, shared_toy.write(plain, "plugged.yaml")


def test_loss_and_projection_of_ones_own_train_resume_and_export(place, command):
    root, recipe = place
    done = command("run", recipe, "--run-dir", root / "run")
    assert done.returncode == 0, done.stderr
    assert "huber" in done.stdout and "complete  all 4 steps are done" in done.stdout
    whole = checkpoint.list_checkpoints(root / "run" / "checkpoints")[0].read_bytes()
    state = checkpoint.load_newest(root / "run" / "checkpoints")
    assert any(name.endswith("/scale") for name in state.tensors)
    assert list(state.progressed.surroundings["plugins"]) == [str(root / "own_losses.py")]
    (root / "run" / "checkpoints" / checkpoint.file_name(4)).unlink()
    done = command("run", recipe, "--run-dir", root / "run")
    assert "resumed   after step 2" in done.stdout, done.stderr
    assert checkpoint.list_checkpoints(root / "run" / "checkpoints")[0].read_bytes() == whole
    # What reads the run imports the plugin again, by the run's own settings.
    done = command("export", root / "run", "--out", root / "student")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_changed_plugin_is_another_run_to_the_last_bit_and_is_said(place, command):
    root, recipe = place
    run_dir = root / "changed"
    assert command("run", recipe, "--run-dir", run_dir).returncode == 0
    (run_dir / "checkpoints" / checkpoint.file_name(4)).unlink()
    plugin = root / "own_losses.py"
    plugin.write_text(PLUGIN + "\n# another version\n")
    try:
        done = command("run", recipe, "--run-dir", run_dir)
    finally:
        plugin.write_text(PLUGIN)
    assert done.returncode == 0, done.stderr
    promise = next(line for line in done.stdout.splitlines() if line.startswith("promise"))
    assert "batch-exact" in promise and "plugins" in promise
    done = command("evaluate", run_dir, "--examples", root / "examples")
    assert done.returncode == 0, done.stderr


def test_missing_plugin_is_one_line(place, command):
    root, recipe = place
    bad = root / "missing.yaml"
    bad.write_text(recipe.read_text().replace("own_losses.py", "lost_losses.py"))
    done = command("run", bad, "--run-dir", root / "missing")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    where = bad.read_text()[: bad.read_text().index("lost_losses")].count("\n") + 1
    assert line.startswith(f"train run: error: {bad}:{where}: plugins[0]: ")
    assert line.endswith("lost_losses.py: no such file")
