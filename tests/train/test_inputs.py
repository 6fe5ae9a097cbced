import dataclasses

import pytest

from limbeck.config import UsageError, yaml_file
from limbeck.ranks import World
from train.inputs import open_inputs
from train.recipe import DistributionTerm, HiddenTerm, Recipe, make_term
from train.starting.preflight import preflight


def check(toy, plain):
    preflight(yaml_file.from_plain(Recipe, plain, "recipe"), toy.root / "run", World())


def test_inputs_that_fit_are_opened(shared_toy):
    recipe = yaml_file.from_plain(Recipe, shared_toy.distil(), "recipe")
    inputs = preflight(recipe, shared_toy.root / "opened", World())
    assert inputs.examples.num_rows == 40
    assert inputs.families["top"].group == "masked"
    assert inputs.families["states"].hidden_dim == 12


HIDDEN = {"loss": "hidden_mse", "signal": "states", "student_layer": 1, "projection": "linear"}
KL = {"loss": "kl", "signal": "top"}


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([{**KL, "temperature": 3.0}, HIDDEN], r"temperature 3 is not in the grid of 'top'"),
        ([KL, {**HIDDEN, "student_layer": 2}], "student_layer is 2, but the student has 1"),
        ([KL, {**HIDDEN, "projection": "none"}], "8 wide and 'states' 12; set projection"),
        ([{**KL, "signal": "states"}, {**HIDDEN}, KL], "kl cannot learn from 'states'"),
        ([KL, {**HIDDEN, "signal": "top"}, HIDDEN], "hidden_mse cannot learn from 'top'"),
    ],
)
def test_term_that_its_family_cannot_serve_is_refused(shared_toy, terms, message):
    with pytest.raises(UsageError, match=message):
        check(shared_toy, shared_toy.distil(objective=terms))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "klx"}, r"^recipe: objective\[0\].loss"),
        ({"weight": "0.5"}, r"^recipe: objective\[0\].weight"),
        ({"missing_mass": "trunc"}, r"^recipe: objective\[0\].missing_mass"),
    ],
)
def test_recipe_made_in_python_is_held_to_the_types_of_one_from_a_file(
    shared_toy, settings, message
):
    recipe = yaml_file.from_plain(Recipe, shared_toy.distil(), "recipe")
    term = DistributionTerm(**{"loss": "kl", "signal": "top", **settings})
    other = HiddenTerm(loss="hidden_mse", signal="states", student_layer=1, projection="linear")
    with pytest.raises(UsageError, match=message):
        open_inputs(dataclasses.replace(recipe, objective=(term, other)))


def test_setting_that_a_loss_has_not_is_named():
    with pytest.raises(ValueError, match="loss kl has no setting 'bogus'; it has loss, weight"):
        make_term("kl", signal="top", bogus=1)


def test_missing_directories_are_named(shared_toy):
    lost = str(shared_toy.root / "lost")
    for plain in (
        shared_toy.recipe(data={"examples": lost}),
        shared_toy.recipe(data={"heldout": lost}),
        shared_toy.recipe(data={"heldout": str(shared_toy.root / "examples")}, objective=[KL])
        | {"data": {"examples": str(shared_toy.root / "examples"), "labels": {"top": lost}}},
        shared_toy.recipe(model={"start": "checkpoint", "checkpoint": lost, "architecture": None}),
    ):
        with pytest.raises(UsageError, match="lost"):
            check(shared_toy, plain)


def test_labels_as_examples_are_refused(shared_toy):
    plain = shared_toy.recipe(data={"examples": str(shared_toy.root / "top")})
    with pytest.raises(UsageError, match="holds labels; expected examples"):
        check(shared_toy, plain)


def test_labels_of_other_examples_are_refused(toy):
    toy.all_families()
    other = toy.examples("other", seed=5)
    plain = toy.distil()
    plain["data"]["examples"] = str(other)
    with pytest.raises(UsageError, match="does not go with"):
        check(toy, plain)


def test_another_masking_under_the_same_parent_is_refused_before_the_first_step(toy):
    toy.examples()

    def other_masking(fields):
        fields["digest"][:] ^= 1

    toy.sparse(toy.root / "examples", spoil=other_masking)
    toy.hidden(toy.root / "examples")
    with pytest.raises(UsageError, match="another digest"):
        check(toy, toy.distil())


def test_teacher_of_another_vocabulary_is_refused(toy):
    toy.examples()
    toy.sparse(toy.root / "examples", vocab_size=60)
    toy.hidden(toy.root / "examples")
    with pytest.raises(UsageError, match="teacher's vocabulary has 60 ids and the student's 50"):
        check(toy, toy.distil())


def test_student_of_another_vocabulary_or_too_few_positions_is_refused(shared_toy):
    for change, message in (
        ({"vocab_size": 51}, "50 ids and the student's 51"),
        ({"max_positions": 15}, "up to 16 tokens and the student 15"),
    ):
        plain = shared_toy.recipe()
        plain["model"]["architecture"].update(change)
        with pytest.raises(UsageError, match=message):
            check(shared_toy, plain)


def test_directory_of_another_recipe_is_refused_with_the_differences(toy):
    from limbeck.runs import RunDirectory

    toy.examples()
    recipe = yaml_file.from_plain(Recipe, toy.recipe(), "recipe")
    RunDirectory(toy.root / "run").take(yaml_file.to_plain(recipe))
    check(toy, toy.recipe())  # the same one is welcome
    with pytest.raises(UsageError, match="training.steps is 6 there and 9 here"):
        check(toy, toy.recipe(training={"steps": 9}))


def test_run_directory_is_made_by_the_leader_once_all_is_well(toy):
    toy.all_families()
    with pytest.raises(UsageError):
        check(toy, toy.distil(objective=[{**KL, "temperature": 3.0}, HIDDEN]))
    recipe = yaml_file.from_plain(Recipe, toy.distil(), "recipe")
    preflight(recipe, toy.root / "run", World(rank=1, size=2))
    assert not (toy.root / "run").exists()
    preflight(recipe, toy.root / "run", World())
    assert (toy.root / "run" / "config.json").is_file()
