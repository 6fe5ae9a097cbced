"""Losses and maps of one's own that do not work: one line with file and line, exit code 2."""

import pytest

from tests.train.refusing import refusals
from tests.train.test_bad_recipe import RECIPE

TERM = """\
from dataclasses import dataclass
from typing import Literal

from train.recipe import HiddenTerm, Reach, register

@register
@dataclass(frozen=True, kw_only=True)
class OwnTerm(HiddenTerm):
    loss: Literal["LOSS"] = "LOSS"

    @property
    def reach(self):
        return "batch"
"""
CHECKED = """
    def check(self, families, student):
        raise ValueError("student_layer is one that I do not like")
"""
MAP = """\
from train.projections import projection

@projection("picky")
class Picky:
    def __init__(self, name, *, source_dim, target_dim, seed):
        raise ValueError(f"cannot map {source_dim} to {target_dim}")
"""
PLUGINS = {
    "formula.py": TERM.replace("LOSS", "half"),
    "check.py": TERM.replace("LOSS", "checked") + CHECKED,
    "leaves.py": "raise SystemExit(7)\n",
}
CASES = {
    "batch loss that does not gather": (
        "formula.py",
        ("- loss: hidden_mse", "- loss: half  # here"),
        "objective[1].loss: loss half: its reach is batch, but the formula tied to HiddenTerm is "
        "no BatchFormula",
    ),
    "check that raises": (
        "check.py",
        ("- loss: hidden_mse", "- loss: checked"),
        "objective[1].student_layer is one that I do not like",
    ),
    "plugin that ends the program": (
        "leaves.py",
        ("name: toy", "name: toy"),
        "leaves.py fails: SystemExit: 7",
    ),
}


@pytest.fixture(scope="module")
def said(shared_toy):
    root = shared_toy.root
    asked = {}
    for name, (plugin, (old, new), _) in CASES.items():
        (root / plugin).write_text(PLUGINS[plugin])
        text = RECIPE.replace(old, new).replace("seed: 3", f"seed: 3\nplugins: [ROOT/{plugin}]")
        asked[name] = (text,)
    return refusals(root, asked, without=("horovod",))


@pytest.mark.parametrize("name", CASES)
def test_plugin_that_does_not_work_is_refused_with_its_line(said, name):
    line, marked = said[name]
    assert CASES[name][-1] in line
    assert line.startswith(f"RECIPE:{marked[0]}: " if marked else "RECIPE:"), line


def test_map_of_a_later_stage_that_cannot_be_is_refused_before_the_first_trains(shared_toy, inside):
    (shared_toy.root / "picky.py").write_text(MAP)
    plain = shared_toy.distil()
    states = plain["objective"][2]
    plain["plugins"] = [str(shared_toy.root / "picky.py")]
    plain["stages"] = [
        {"name": "first", "steps": 2},
        {"name": "second", "steps": 2, "objective": [{**states, "projection": "picky"}]},
    ]
    del plain["training"]["steps"]
    path = shared_toy.write(plain, "picky.yaml")
    for verb in (("run", "--run-dir", shared_toy.root / "picky"), ("plan",)):
        done = inside(verb[0], path, *verb[1:])
        assert done.returncode == 2 and "step 1/" not in done.stdout
        line = path.read_text()[: path.read_text().index('"picky"')].count("\n") + 1
        end = (
            f"{path}:{line}: objective[0].projection: projection '0_hidden_mse' (picky): cannot map"
        )
        assert done.stderr.splitlines()[-1].endswith(f"{end} 8 to 12")
