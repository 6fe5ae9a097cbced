"""Variables counted without TensorFlow, against the students that are built."""

import dataclasses

import pytest

from limbeck.architectures import EncoderArchitecture
from limbeck.architectures.decoder import DecoderArchitecture
from limbeck.config import UsageError, yaml_file
from limbeck.models.constructions.build import construct, frozen_by
from limbeck.models.constructions.model import named_arrays
from limbeck.models.constructions.steps import Step
from limbeck.models.masked_lm import build_masked_lm
from limbeck.models.names import named_variables
from limbeck.weights.hf import export_hf
from tests.train.conftest import ARCHITECTURE, TEACHER_DIM
from tests.train.students.test_student_model import SHAPE, several, single
from tests.train.students.test_student_plan import DECODER
from train.inputs import open_inputs
from train.recipe import Recipe
from train.students.student import build_student
from train.students.student_model import empty_model
from train.students.student_plan import StudentPlan, single_head
from train.students.trained import model_shapes, num_values, student_shapes

ROBERTA = EncoderArchitecture(
    **ARCHITECTURE, family="roberta", position_offset=2, pad_id=1, type_vocab_size=1
)
TASKS = ("classification", "tagging", "span", "next_sentence", "pretraining")
PLANS = {
    "masked LM": StudentPlan(architecture=SHAPE),
    "no head": StudentPlan(architecture=SHAPE, kind="none"),
    **{
        kind: StudentPlan(architecture=SHAPE, kind=kind, heads=single_head(kind, 2))
        for kind in TASKS
    },
    "a class of RoBERTa": dataclasses.replace(single("classification", 3), architecture=ROBERTA),
    "several": several(),
    "several of RoBERTa": dataclasses.replace(
        several(ROBERTA),
        heads={n: h for n, h in several().heads.items() if h.kind != "next_sentence"},
    ),
    "several beside a masked LM": several(beside_language=True),
    "causal LM": StudentPlan(architecture=DecoderArchitecture(**DECODER), kind="causal_lm"),
}


def inputs_of(plain):
    return open_inputs(yaml_file.from_plain(Recipe, plain, "recipe"))


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_variables_of_a_plan_are_those_of_its_model(plan):
    model = empty_model(plan)
    built = {name: tuple(v.shape) for name, v in named_variables(model).items()}
    assert model_shapes(plan) == built


@pytest.fixture(scope="module")
def folder(shared_toy):
    shape = EncoderArchitecture(**{**ARCHITECTURE, "num_layers": 3})
    path = shared_toy.root / "folder"
    export_hf(build_masked_lm(shape, seed=5), path, tokenizer=None)
    return path


STATES = {"loss": "hidden_mse", "signal": "states", "student_layer": 1, "projection": "linear"}
SHARED = [
    {**STATES, "projection_name": "up"},
    {**STATES, "loss": "hidden_cosine", "projection_name": "up"},
    {"loss": "kl", "signal": "top"},
]
RECIPES = {
    "projection": {},
    "projection of two terms": {"objective": SHARED},
    "frozen parts": {"model": {"freeze": ["encoder/embeddings/", "!encoder/embeddings/norm"]}},
    "half precision": {"training": {"precision": "mixed_bfloat16"}},
    "another shape": {"model": {"architecture": {**ARCHITECTURE, "embedding_dim": 4}}},
}
STARTS = {
    "chosen layers": {"layers": [1, 3]},
    "a new head": {"head": "classification", "num_labels": 4, "missing_head": "initialise"},
    "frozen by construction": {"construct": [{"embedding_pca": {"dim": 4, "freeze": True}}]},
    "construction, then other parts": {
        "construct": [{"factorised_embedding": {"dim": 4, "freeze": True}}, {"layers": "last-1"}],
        "missing_head": "initialise",
        "freeze": ["encoder/layer_0"],
    },
}


def assert_counted(inputs):
    student = build_student(inputs)
    shapes, frozen = student_shapes(inputs)
    built = {name: tuple(v.shape) for name, v in student.named_variables.items()}
    assert list(shapes.items()) == list(built.items())
    assert frozen == student.frozen
    trained = sum(v.numpy().size for v in student.trained)
    assert num_values(shapes, shapes.keys() - frozen) == trained


@pytest.mark.parametrize("changes", RECIPES.values(), ids=RECIPES)
def test_variables_of_a_recipe_are_those_of_its_student(shared_toy, changes):
    assert ARCHITECTURE["hidden_dim"] != TEACHER_DIM  # so there are projections
    assert_counted(inputs_of(shared_toy.distil(**changes)))


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_variables_of_a_student_from_a_folder_are_those_that_are_built(shared_toy, folder, start):
    model = {"start": "checkpoint", "checkpoint": str(folder), "architecture": None, **start}
    changes = {"model": model}
    if start.get("head") == "classification":
        labels = {"states": str(shared_toy.root / "states")}
        data = {"examples": str(shared_toy.root / "examples"), "labels": labels}
        changes |= {"objective": [STATES], "data": data}
    assert_counted(inputs_of(shared_toy.distil(**changes)))


def test_patterns_that_mean_nothing_are_refused_when_inputs_are_opened(shared_toy):
    with pytest.raises(UsageError, match="no variable of the student is or begins with"):
        inputs_of(shared_toy.distil(model={"freeze": ["encoder/layer_7"]}))


PCA, FACTORS = {"dim": 4, "freeze": True}, {"dim": 4, "freeze": True}


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [{"embedding_pca": PCA}],
        [{"embedding_pca": {**PCA, "freeze": False}}],
        [{"factorised_embedding": FACTORS}, {"layers": "last-1"}],
        [{"layers": "first-2"}, {"factorised_embedding": {"dim": 4}}],
        [{"embedding_pca": PCA}, {"average_layers": 1}],
        [{"width": {"intermediate_dim": 8, "importance": "l2"}}, {"embedding_pca": PCA}],
    ],
    ids=str,
)
def test_what_steps_freeze_is_known_without_doing_them(steps):
    shape = EncoderArchitecture(**{**ARCHITECTURE, "num_layers": 2})
    chosen = [yaml_file.from_plain(Step, step, "step") for step in steps]
    teacher = named_arrays(build_masked_lm(shape, seed=1))
    made = construct(shape, teacher, chosen, teacher="nowhere")
    assert frozen_by(chosen) == made.frozen
