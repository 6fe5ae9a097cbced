"""Modules that a recipe names are imported, and only those."""

import sys

import pytest

from limbeck.config import UsageError, yaml_file
from train.recipe import Recipe, term
from train.recipe.plugins import fingerprints, load_plugin

TERM = """\
from dataclasses import dataclass
from typing import Literal

from train.recipe import Term, register


@register
@dataclass(frozen=True, kw_only=True)
class OwnTerm(Term):
    loss: Literal["own"] = "own"
    delta: float = 1.0
"""
RECIPE = """\
name: toy
seed: 3
plugins:
- PLUGIN
data: {examples: examples}
model:
  architecture: {vocab_size: 50, num_layers: 1, hidden_dim: 8, num_heads: 2, intermediate_dim: 8}
objective:
- {loss: own, delta: 0.5}
optimizer: {learning_rate: 1e-4}
training: {global_batch: 8, steps: 3}
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory from which modules are imported, and a registry of its own."""
    monkeypatch.setattr(term, "_registered", dict(term._registered))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def load(plugin):
    return yaml_file.loads(RECIPE.replace("PLUGIN", plugin), Recipe, "r.yaml")


@pytest.mark.parametrize("plugin", ["own_losses", "own_losses.py", "./own_losses.py"])
def test_term_of_a_plugin_is_known_when_the_objective_is_read(place, plugin):
    (place / "own_losses.py").write_text(TERM)
    recipe = load(plugin)
    assert recipe.objective[0].delta == 0.5
    # The settings of a run name the plugin, so whatever reads them imports it again.
    plain = yaml_file.to_plain(recipe)
    assert plain["plugins"] == [plugin]
    assert yaml_file.from_plain(Recipe, plain, "config.json") == recipe


def test_term_of_a_plugin_that_is_not_named_is_unknown(place):
    (place / "own_losses.py").write_text(TERM)
    (place / "other.py").write_text("")
    with pytest.raises(UsageError, match=r"r\.yaml:9: objective\[0\]\.loss is 'own'; expected"):
        load("other")
    assert "own_losses" not in sys.modules


@pytest.mark.parametrize(
    ("plugin", "text", "message"),
    [
        ("nowhere", None, r"plugins\[0\]: no module 'nowhere'; install it"),
        ("nowhere.at.all", None, r"plugins\[0\]: no module 'nowhere.at.all'; install it"),
        ("lost/own.py", None, r"plugins\[0\]: lost/own.py: no such file"),
        ("needs.py", "import nonesuch", r"needs.py imports 'nonesuch', which is not there"),
        ("needs2", "import nonesuch", r"needs2 imports 'nonesuch', which is not there"),
        ("bad.py", "1 / 0", r"bad.py fails: ZeroDivisionError: division by zero"),
        ("bad2.py", "def f(:", r"bad2.py fails: SyntaxError"),
        ("taken.py", TERM.replace('"own"', '"kl"'), r"taken.py fails: ValueError: loss 'kl' is "),
    ],
)
def test_plugin_that_cannot_be_imported_is_one_clear_error(place, plugin, text, message):
    if text is not None:
        (place / plugin.removesuffix(".py")).with_suffix(".py").write_text(text)
    with pytest.raises(UsageError, match=rf"^r\.yaml:4: .*{message}"):
        load(plugin)


def test_file_is_run_once_and_again_after_it_failed(place):
    counted = place / "counted.py"
    counted.write_text("1 / 0")
    with pytest.raises(UsageError, match="fails"):
        load_plugin("counted.py")
    counted.write_text("number = []\n")
    load_plugin("counted.py").number.append(1)
    assert load_plugin(str(counted)).number == [1]


def test_fingerprint_is_that_of_the_code(place):
    import hashlib

    (place / "own_losses.py").write_text(TERM)
    assert fingerprints(["own_losses"]) == {"own_losses": hashlib.sha256(TERM.encode()).hexdigest()}
