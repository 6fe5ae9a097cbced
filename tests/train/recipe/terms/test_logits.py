"""What terms on logits refuse: in a recipe alone, and beside families and a student."""

from types import SimpleNamespace

import pytest

from limbeck.config import UsageError, yaml_file
from limbeck.labels.signals import FinalSignal, HiddenSignal, SparseSignal, TaskSignal
from train.recipe import StudentFacts, Term, make_term
from train.recipe.heads import Head
from train.recipe.temperatures import CwsmTemperature, FlswTemperature

V = 50
FLSW = FlswTemperature(temperature=2)
CWSM = CwsmTemperature(temperature=2, floor=1, ceiling=4)


def family(signal, *, num_logits=V, num_labels=3, is_partial=False, list_name=None):
    return SimpleNamespace(
        signal=signal,
        num_logits=num_logits,
        num_labels=num_labels,
        is_partial=is_partial,
        list_name=list_name or signal.positions,
    )


SPARSE = family(SparseSignal(k=4, temperatures=(1, 2, 4)))
LEAN = family(SparseSignal(threshold=0.1, sample=True, form="lean", temperatures=(2,)))
DRAWN = family(SparseSignal(threshold=0.1, sample=True, temperatures=(1, 2, 4)))
FINAL, FINAL_ALL = family(FinalSignal()), family(FinalSignal(positions="all"))
SOME_ALL = family(FinalSignal(positions="all"), is_partial=True, list_name="all of a")
TASK, TAGS = family(TaskSignal()), family(TaskSignal(positions="all"))
VALUE = family(TaskSignal(), num_labels=1)
HIDDEN = family(HiddenSignal(layer=1))


def student(*, predicts=True, **heads):
    made = {name: Head(kind=kind, num_labels=n) for name, (kind, n) in heads.items()}
    return StudentFacts(architecture=SimpleNamespace(vocab_size=V), heads=made, predicts=predicts)


CLASSES, TAGGER = ("classification", 3), ("tagging", 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "signal is missing"),
        ({"signals": ("a",)}, "signal is missing: name a family, or several"),
        ({"signal": "a", "signals": ("b", "c")}, "signals has no effect beside signal"),
        ({"signals": ("a", "a")}, "signals names a family twice"),
        ({"signal": "a", "teacher_weights": (1,)}, "teacher_weights has no effect"),
        ({"signals": ("a", "b"), "teacher_weights": (1,)}, "teacher_weights has 1 entries"),
        ({"signals": ("a", "b"), "teacher_weights": (1, 0)}, "must be positive"),
        ({"signals": ("a", "b"), "teacher_weights": (1, float("inf"))}, "must be positive"),
        ({"signal": "a", "combine": "logits"}, "combine has no effect"),
        (
            {"signals": ("a", "b"), "combine": "probabilities", "temperature": FLSW},
            "flsw compares logits",
        ),
        ({"signal": "a", "temperature": 0}, "temperature is 0"),
        ({"signal": "a", "temperature": float("inf")}, "temperature is inf"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make_term(loss="kl", **settings)


@pytest.mark.parametrize(
    ("loss", "settings", "message"),
    [
        ("kl", {}, "does not tell the teacher's entropy.*take soft_ce"),
        ("soft_ce", {"temperature": CWSM}, "grid only; give one of these in place of a schedule"),
        ("soft_ce", {"temperature": FLSW}, "grid only; give one of these in place of a schedule"),
        ("soft_ce", {"approximate_temperature": True}, "approximate_temperature has no effect"),
    ],
)
def test_settings_that_a_sample_does_not_tell_are_refused(loss, settings, message):
    with pytest.raises(ValueError, match=message):
        make_term(loss=loss, signal="a", missing_mass="sampled", **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": CWSM}, "temperature must be a number"),
        ({"probability_shift": True}, "probability_shift has no effect"),
    ],
)
def test_label_by_label_losses_refuse_what_is_for_one_label(settings, message):
    with pytest.raises(ValueError, match=message):
        make_term(loss="sigmoid_ce", signal="a", **settings)


OFF = {"temperature": 3.0}
NEAR = {"approximate_temperature": True}
SAMPLED = {"missing_mass": "sampled"}
SHIFTED = {"probability_shift": True}
PLAIN = student()
NO_LM = student(predicts=False, mine=CLASSES)

REFUSED = [
    ("kl", {}, HIDDEN, PLAIN, "signal: loss kl cannot learn from 'a', which holds a hidden"),
    ("logit_mse", {}, SPARSE, PLAIN, "it needs final or task"),
    ("sigmoid_ce", {}, FINAL, PLAIN, "it needs task"),
    ("kl", {}, family(FinalSignal(), num_logits=51), PLAIN, "has 51 ids and the student 50"),
    ("kl", {}, SPARSE, NO_LM, "over the vocabulary, for which the student has no head"),
    ("kl", {}, FINAL, NO_LM, "over the vocabulary, for which the student has no head"),
    # Temperatures
    ("kl", OFF, SPARSE, PLAIN, "temperature 3 is not in the grid of 'a'"),
    ("kl", {"temperature": 8.0, **NEAR}, SPARSE, PLAIN, "temperature 8 is not in .*, nor between"),
    (
        "kl",
        {"temperature": 0.5, **NEAR},
        SPARSE,
        PLAIN,
        "temperature 0.5 is not in .*, nor between",
    ),
    ("kl", {"temperature": 2.0, **NEAR}, SPARSE, PLAIN, "approximate_temperature has no effect"),
    ("kl", {**OFF, **NEAR}, FINAL, PLAIN, "approximate_temperature has no effect"),
    ("kl", {"temperature": FLSW}, SPARSE, PLAIN, "flsw compares all logits"),
    ("kl", {"temperature": CWSM}, SPARSE, PLAIN, "set approximate_temperature: true"),
    (
        "kl",
        {"temperature": CwsmTemperature(temperature=2, ceiling=5), **NEAR},
        SPARSE,
        PLAIN,
        "set a floor from 1 and a ceiling up to 4",
    ),
    (
        "kl",
        {"temperature": CwsmTemperature(temperature=2, floor=0.5, ceiling=4), **NEAR},
        SPARSE,
        PLAIN,
        "set a floor from 1",
    ),
    ("kl", {"temperature": CwsmTemperature(temperature=2), **NEAR}, SPARSE, PLAIN, "a ceiling"),
    (
        "kl",
        {**OFF, **NEAR, "missing_mass": "renormalised"},
        SPARSE,
        PLAIN,
        "approximate_temperature has no effect: renormalised",
    ),
    # Samples and whole distributions
    ("kl", {"temperature": 2.0}, LEAN, PLAIN, "take soft_ce, whose gradient is the same"),
    ("soft_ce", {}, LEAN, PLAIN, "temperature must be 2, at which 'a' was sampled"),
    (
        "soft_ce",
        {"temperature": 2.0, "missing_mass": "bucket"},
        LEAN,
        PLAIN,
        "missing_mass has no effect",
    ),
    ("soft_ce", {"temperature": 2.0, **NEAR}, LEAN, PLAIN, "approximate_temperature has no effect"),
    ("soft_ce", {"temperature": 2.0, **SAMPLED}, LEAN, PLAIN, "missing_mass has no effect"),
    ("soft_ce", SAMPLED, FINAL, PLAIN, "missing_mass has no effect"),
    ("soft_ce", SAMPLED, SPARSE, PLAIN, "missing_mass is sampled, and 'a' has no sample"),
    ("soft_ce", {**OFF, **SAMPLED}, DRAWN, PLAIN, "temperature 3 is not in the grid of 'a'"),
    ("soft_ce", {}, DRAWN, PLAIN, "missing_mass must be given: 'a' has a sample"),
    ("kl", {"temperature": 2.0}, DRAWN, PLAIN, "take sampled, .*soft_ce.*, or bucket"),
    ("kl", {"missing_mass": "bucket"}, FINAL, PLAIN, "missing_mass has no effect"),
    ("kl", {"missing_mass": "truncated"}, TASK, student(mine=CLASSES), "missing_mass has no"),
    # Heads
    ("kl", {"head": "mine"}, SPARSE, student(mine=CLASSES), "head has no effect"),
    ("kl", {"head": "mine"}, FINAL, student(mine=CLASSES), "head has no effect"),
    ("kl", {}, TASK, PLAIN, "head: loss kl needs a student with a classification"),
    ("kl", {}, TASK, student(x=CLASSES, y=CLASSES), "head: the student has several, x, y"),
    ("kl", {"head": "z"}, TASK, student(x=CLASSES), "head 'z' is not there"),
    ("kl", {}, TASK, student(mine=TAGGER), "needs a .*classification"),
    ("kl", {}, TAGS, student(mine=CLASSES), "needs a .*tagging"),
    ("kl", {}, TASK, student(mine=("classification", 4)), "3 logits an entry .* head 4"),
    ("kl", {}, VALUE, student(mine=("classification", 1)), "always 1; take logit_mse"),
    (
        "kl",
        {},
        family(TaskSignal(positions="all"), num_labels=2),
        student(mine=("span", 2)),
        "marks where a span begins",
    ),
    # Positions
    ("kl", {"positions": "masked"}, SPARSE, PLAIN, "positions is masked, and 'a' labels just"),
    ("kl", {"positions": "first"}, SPARSE, PLAIN, "positions is first, but 'a' is sparse at pos"),
    ("kl", {"positions": "masked"}, TAGS, student(mine=TAGGER), "'a' is task at positions all"),
    ("kl", {"positions": "first"}, SOME_ALL, PLAIN, "first, but 'a' labels some rows only"),
    ("kl", {"positions": "first", **SHIFTED}, FINAL_ALL, PLAIN, "probability_shift needs all"),
    # Shift
    ("kl", {"probability_shift": True}, SPARSE, PLAIN, "probability_shift needs all logits"),
    ("kl", {"probability_shift": True}, FINAL_ALL, PLAIN, "probability_shift needs all logits"),
]


@pytest.mark.parametrize(("loss", "settings", "one", "facts", "message"), REFUSED)
def test_family_or_student_that_does_not_fit_is_refused(loss, settings, one, facts, message):
    term = make_term(loss=loss, signal="a", **settings)
    with pytest.raises(UsageError, match=message):
        term.check([one], facts)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ((SPARSE, SPARSE), "one term for each .the gradient of soft_ce"),
        ((FINAL, FINAL_ALL), "they must be alike"),
        ((FINAL, TASK), "they must be alike"),
        ((FINAL, family(FinalSignal(), is_partial=True)), "labels some rows only"),
        ((FINAL, family(FinalSignal(), num_logits=51)), "'b' has 51 ids"),
    ],
)
def test_teachers_that_cannot_be_averaged_are_refused(pair, message):
    term = make_term(loss="kl", signals=("a", "b"))
    with pytest.raises(UsageError, match=message):
        term.check(list(pair), student(mine=CLASSES))


ACCEPTED = [
    ("kl", {"temperature": 2.0}, SPARSE, PLAIN),
    ("kl", {**OFF, **NEAR}, SPARSE, PLAIN),
    ("kl", {**OFF, "missing_mass": "renormalised"}, SPARSE, PLAIN),
    ("kl", {"temperature": CWSM, **NEAR}, SPARSE, PLAIN),
    ("kl", {"temperature": CWSM, "missing_mass": "renormalised"}, SPARSE, PLAIN),
    ("soft_ce", {"temperature": 2.0}, LEAN, PLAIN),
    ("soft_ce", {"temperature": 4.0, **SAMPLED}, DRAWN, PLAIN),
    ("kl", {"temperature": 4.0, "missing_mass": "bucket"}, DRAWN, PLAIN),
    ("soft_ce", {**OFF, "missing_mass": "renormalised"}, DRAWN, PLAIN),
    ("kl", {"temperature": 3.7}, FINAL, PLAIN),
    ("kl", {"temperature": FLSW}, FINAL_ALL, PLAIN),
    ("kl", {"probability_shift": True}, FINAL, PLAIN),
    ("kl", {"probability_shift": True, "positions": "masked"}, FINAL_ALL, PLAIN),
    ("logit_mse", {"positions": "first"}, FINAL_ALL, PLAIN),
    ("kl", {"probability_shift": True}, TASK, student(mine=CLASSES)),
    ("soft_ce", {}, family(FinalSignal(), is_partial=True), PLAIN),
    ("kl", {}, TAGS, student(mine=TAGGER)),
    ("kl", {"head": "y"}, TASK, student(x=CLASSES, y=CLASSES)),
    ("logit_mse", {}, VALUE, student(predicts=False, mine=("classification", 1))),
    ("logit_mse", {"reduction": "sum"}, FINAL, PLAIN),
    ("sigmoid_ce", {}, TASK, student(mine=CLASSES)),
]


@pytest.mark.parametrize(("loss", "settings", "one", "facts"), ACCEPTED)
def test_family_that_fits_is_accepted(loss, settings, one, facts):
    make_term(loss=loss, signal="a", **settings).check([one], facts)


def test_block_with_a_schedule_becomes_its_class_and_back():
    text = """\
loss: kl
signals: [a, b]
teacher_weights: [1, 3]
combine: probabilities
temperature: {schedule: cwsm, temperature: 4, beta: 2}
"""
    term = yaml_file.loads(text, Term, "term.yaml")
    assert term.temperature == CwsmTemperature(temperature=4, beta=2)
    assert term.teacher_shares == (0.25, 0.75) and term.reach == "batch"
    assert term.scale_at(0.5) == 1.0  # each entry has its own tau^2
    assert yaml_file.loads(yaml_file.dump(term), Term) == term


@pytest.mark.parametrize(
    ("temperature", "message"),
    [
        ("{schedule: flws, temperature: 4}", "did you mean 'flsw'"),
        ("{temperature: 4}", "lacks 'schedule'"),
        ("{schedule: flsw}", "lacks 'temperature'"),
        ("{schedule: flsw, temperature: 4, floor: 9}", "term.yaml:3: .*floor is 9"),
        ("{schedule: flsw, temperature: 4, ceiling: 9}", "unknown key 'ceiling'"),
    ],
)
def test_schedule_with_a_mistake_is_refused_with_its_line(temperature, message):
    with pytest.raises(UsageError, match=message):
        yaml_file.loads(f"loss: kl\nsignal: a\ntemperature: {temperature}\n", Term, "term.yaml")


def test_scale_is_weight_and_square_of_a_constant_temperature():
    assert make_term(loss="kl", signal="a", temperature=2.0, weight=0.5).scale_at(0.0) == 2.0
    plain = {"loss": "sigmoid_ce", "signal": "a", "temperature": 3.0}
    assert make_term(**plain).scale_at(0.0) == 9.0
    assert make_term(**plain, scale_by_temperature_squared=False).scale_at(0.0) == 1.0
    assert make_term(loss="logit_mse", signal="a", temperature=3.0).scale_at(0.0) == 1.0
