"""What a step would refuse is found before the first begins, by the stages' own commands."""

import pytest

from launch.recipes.catalogue import files, load
from launch.recipes.checks import check_steps
from launch.recipes.place import Place
from launch.recipes.plan import plan
from launch.recipes.written import with_settings
from limbeck.config.errors import UsageError

PREPARE = """\
steps:
  - step: prepare
    name: files
    command: newsgroups
    options:
      source: $newsgroups
      train-share: 0.4
  - step: prepare
    name: masked
    command: examples
    options:
      documents: $documents
      vocab: $encoder
      kind: mlm
      within-documents: true
"""


@pytest.fixture
def check(recipe_file, base, monkeypatch):
    """Checks the recipe file as it now is."""
    monkeypatch.chdir(recipe_file.parent)

    def run(*settings: str, done=()) -> None:
        place = Place(name="toy", folder=recipe_file.with_suffix(""), out=recipe_file, base=base)
        method = with_settings(load(recipe_file), settings)
        check_steps(method, plan(method, place), done=done)

    return run


def line_of(text: str, part: str) -> int:
    return next(i for i, line in enumerate(text.splitlines(), start=1) if part in line)


def test_a_sound_recipe_passes(check):
    check("student.training.steps=20", "baseline.model.layers=[1]")


def test_a_mistake_in_a_training_recipe_has_its_line(check, recipe_file):
    file = recipe_file.with_suffix("") / "student.yaml"
    file.write_text(file.read_text().replace("global_batch", "globl_batch"))
    line = line_of(file.read_text(), "globl_batch")
    with pytest.raises(UsageError, match=rf"^toy/student\.yaml:{line}: unknown key 'globl_batch'"):
        check()
    check(done=("student", "baseline"))  # what is made need not be looked at


@pytest.mark.parametrize(
    "old, new, at, message",
    [
        (
            "    set:\n",
            "    set:\n      data.exampls: x\n",
            "exampls",
            "set: unknown key 'exampls'",
        ),
        # A baseline's training recipe is in no file.
        ("[{loss: mlm}]", "[{loss: mlmx}]", "step: baseline", "step 'baseline': objective.0..loss"),
    ],
)
def test_a_mistake_in_a_step_has_its_line(check, recipe_file, old, new, at, message):
    recipe_file.write_text(recipe_file.read_text().replace(old, new, 1))
    line = line_of(recipe_file.read_text(), at)
    with pytest.raises(UsageError, match=rf"^{recipe_file}:{line}: {message}"):
        check()


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("source: $n", "sorce: $n", "'files': .* no option 'sorce'; did you mean 'source'"),
        ("source: $n", "out: $n", "'files': .* no option 'out'"),  # which the runner gives
        ("kind: mlm", "kind: mlmx", "'masked': kind is 'mlmx'; expected one of pairs, mlm,"),
        ("kind: mlm", "kidn: mlm", "'masked': .* no option 'kidn'; did you mean 'kind'"),
    ],
)
def test_a_mistake_in_options_has_its_line(check, recipe_file, old, new, message):
    text = recipe_file.read_text().replace("steps:\n", PREPARE, 1)
    recipe_file.write_text(text.replace(old, new))
    other = {"files", "masked"} - {message.split("'")[1]}
    line = line_of(recipe_file.read_text(), new)
    with pytest.raises(UsageError, match=rf"^{recipe_file}:{line}: options of {message}"):
        check(done={"student", "baseline", *other})


def test_a_mistake_in_a_setting_begins_with_it(check):
    with pytest.raises(
        UsageError, match=r"^--set student\.training\.stepz=20: unknown key 'stepz'"
    ):
        check("student.training.steps=20", "student.training.stepz=20")


def test_a_shipped_recipe_passes(base):
    """One of those that prepare most; `test_shipped` reads the training recipes of all."""
    path = files()["xtremedistil_stages"]
    place = Place(name=path.stem, folder=path.with_suffix(""), out=path, base=base)
    check_steps(load(path), plan(load(path), place))
