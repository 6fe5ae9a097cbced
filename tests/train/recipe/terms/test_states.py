"""What terms between states refuse, before anything is loaded."""

import subprocess
import sys

import pytest

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.config.errors import UsageError
from limbeck.labels.signals import FinalSignal, HiddenSignal, SparseSignal
from train.recipe import StudentFacts, make_term

SHAPE = EncoderArchitecture(
    vocab_size=9, num_layers=3, hidden_dim=8, num_heads=2, intermediate_dim=8, max_positions=4
)
STUDENT = StudentFacts(architecture=SHAPE)


class FakeFamily:
    """All that a check looks at."""

    def __init__(self, signal, *, width=8, list_name=None):
        self.signal, self.hidden_dim = signal, width
        self.list_name = list_name or signal.positions


def hidden(positions="all", **more):
    return FakeFamily(HiddenSignal(layer=1, positions=positions), **more)


FAMILIES = {
    "all": hidden(),
    "wide": hidden(width=12),
    "first": hidden("first"),
    "masked": hidden("masked"),
    "part": hidden(list_name="all of part"),
    "top": FakeFamily(SparseSignal(k=2)),
    "full": FakeFamily(FinalSignal()),
}

ONE = {"signal": "all", "student_layer": 1}
TWO = {"signals": ("all", "all"), "student_layers": (1, 2)}
MAPPED = {"projection": "linear"}


def check(loss, /, facts=STUDENT, **settings):
    term = make_term(loss, **settings)
    families = [FAMILIES[name] for name in term.signals]
    term.check(families, facts)
    return term, families


ACCEPTED = [
    ("hidden_mse", ONE),
    ("hidden_cosine", {**ONE, "signal": "masked"}),
    ("pkd", {**ONE, "signal": "first"}),
    ("pkd", {**ONE, "positions": "first"}),
    ("pkd", {**ONE, "signal": "first", "positions": "first"}),
    ("hidden_mse", {**ONE, "signal": "wide", **MAPPED}),
    ("mmd", TWO),
    ("mmd", {**TWO, "signals": ("wide", "wide")}),  # widths of the models may differ
    ("mmd", {"signals": ("part", "part"), "student_layers": (0, 0)}),
    ("fsp", TWO),
    ("fsp", {**TWO, "signals": ("wide", "all"), **MAPPED}),
    ("emd", {"signals": ("all",), "student_layers": (0, 1, 2, 3)}),
    ("emd", {"signals": ("masked",), "student_layers": (0, 1)}),
    ("contrastive", {**ONE, "signal": "first"}),
    ("contrastive", {**ONE, "signal": "wide", "projection": "linear_relu"}),
]


@pytest.mark.parametrize(("loss", "settings"), ACCEPTED)
def test_what_can_be_computed_is_accepted(loss, settings):
    check(loss, **settings)


REFUSED = [
    ("pkd", {**ONE, "signal": "top"}, "loss pkd cannot learn from 'top', which holds a sparse"),
    ("mmd", {**TWO, "signals": ("all", "full")}, "mmd cannot learn from 'full', .* a final sig"),
    ("contrastive", {**ONE, "signal": "top"}, "needs a hidden one"),
    ("hidden_mse", {**ONE, "student_layer": 4}, "^student_layer is 4, but the student has 3 lay"),
    ("contrastive", {**ONE, "student_layer": 4}, "^student_layer is 4, but the student has 3 lay"),
    ("fsp", {**TWO, "student_layers": (1, 4)}, "^student_layers has 4, but the student has 3 lay"),
    ("hidden_mse", {**ONE, "signal": "wide"}, "^projection is none, .* 8 wide and 'wide' 12; set"),
    ("fsp", {**TWO, "signals": ("all", "wide")}, "^projection is none, .* 8 wide and 'wide' 12"),
    ("contrastive", {**ONE, "signal": "wide"}, "^projection is none, .* 8 wide and 'wide' 12"),
    ("emd", {**TWO, "signals": ("wide",)}, "^projection is none, .* 8 wide and 'wide' 12"),
    ("emd", {**TWO, "signals": ("all", "wide"), **MAPPED}, "^signals: 'all' is 8 wide and 'wide'"),
    ("mmd", {**TWO, "signals": ("all", "wide")}, "^signals: 'all' is 8 wide and 'wide' 12; mmd"),
    ("pkd", {**ONE, "signal": "masked", "positions": "first"}, "^positions is first, but 'masked'"),
    ("mmd", {**TWO, "signals": ("first",) * 2}, "^signals: 'first' labels first .* needs pos.*all"),
    ("fsp", {**TWO, "signals": ("masked",) * 2}, "^signals: 'masked' labels masked positions"),
    ("contrastive", {**ONE, "signal": "masked"}, "^signal: 'masked' labels masked .* first or all"),
    ("mmd", {**TWO, "signals": ("all", "part")}, "^signals: 'all' labels all and 'part' all of pa"),
    ("emd", {**TWO, "signals": ("all", "first")}, "^signals: 'all' labels all and 'first' first"),
    ("hidden_mse", {**ONE, "projection": "lin"}, "^projection is 'lin', .* none, linear, linear_r"),
    (
        "emd",
        {**TWO, "signals": ("all",), "projection": "x"},
        "^projection is 'x', which is none",
    ),
    (
        "contrastive",
        {"signal": "first", "student": "pooled"},
        "^student is pooled, but the student has no pooler",
    ),
]


@pytest.mark.parametrize(("loss", "settings", "message"), REFUSED)
def test_what_does_not_fit_is_refused_with_its_setting(loss, settings, message):
    with pytest.raises(UsageError, match=message):
        check(loss, **settings)


NO_SETTINGS = [
    ("hidden_mse", {**ONE, "student_layer": -1}, "student_layer is -1; 0 is the embeddings"),
    ("hidden_mse", {**ONE, "projection_name": "x"}, "projection_name has no effect"),
    ("fsp", {**TWO, "projection_name": "x"}, "projection_name has no effect"),
    ("mmd", {"student_layers": (1, 2)}, "signals is missing or empty; loss mmd needs a list"),
    ("emd", {"signals": ("all",)}, "student_layers is missing or empty"),
    ("mmd", {**TWO, "signals": ("all",)}, "signals has 1; loss mmd multiplies two"),
    ("fsp", {**TWO, "student_layers": (1, 2, 3)}, "student_layers has 3; loss fsp multiplies two"),
    ("fsp", {**TWO, "student_layers": (1, -2)}, "student_layers has -2; 0 is the embeddings"),
    ("emd", {**TWO, "signals": ("all",) * 2}, "signals has all twice"),
    ("emd", {"signals": ("all",), "student_layers": (1, 1)}, "student_layers has 1 twice"),
    ("emd", {"signals": ("all",), "student_layers": tuple(range(25))}, "has 25; emd takes at most"),
    ("contrastive", {**ONE, "temperature": 0.0}, "temperature is 0.0; it must be a positive"),
    ("contrastive", {**ONE, "temperature": float("nan")}, "temperature is nan; it must be a pos"),
    ("contrastive", {"signal": "first"}, "student_layer is missing; or set student: pooled"),
    ("contrastive", {**ONE, "student": "pooled"}, "student_layer has no effect: student is pooled"),
    ("contrastive", {**ONE, "student_layer": -1}, "student_layer is -1; 0 is the embeddings"),
    ("mmd", {**TWO, "weight": 0.0}, "weight is 0.0; it must be a positive number"),
]


@pytest.mark.parametrize(("loss", "settings", "message"), NO_SETTINGS)
def test_settings_that_mean_nothing_are_refused_as_they_are_read(loss, settings, message):
    with pytest.raises(ValueError, match=message):
        make_term(loss, **settings)


@pytest.mark.parametrize(
    ("loss", "settings", "counted", "reach"),
    [
        ("hidden_mse", ONE, "entries", "additive"),
        ("pkd", {**ONE, "positions": "first"}, "rows", "additive"),
        ("mmd", TWO, "pairs", "additive"),
        ("fsp", TWO, "rows", "additive"),
        ("emd", {**TWO, "signals": ("all",)}, "entries", "batch"),
        ("contrastive", ONE, "rows", "batch"),
    ],
)
def test_terms_say_what_they_count_and_how_far_they_reach(loss, settings, counted, reach):
    term, families = check(loss, **settings)
    assert (term.counted, term.reach) == (counted, reach)
    assert term.list_name(families) == "all"
    assert set(term.wants(families).hidden) == set(term.student_layers)


def plans(loss, **settings):
    term, families = check(loss, **settings)
    return [(p.name, p.kind, p.source_dim, p.target_dim) for p in
            term.projections(families, STUDENT, name="4_x")]  # fmt: skip


def test_projections_lead_from_each_layer_to_the_teachers_width():
    linear = ("linear", 8)
    assert plans("pkd", **ONE) == []
    assert plans("pkd", **{**ONE, "signal": "wide"}, **MAPPED) == [("4_x", *linear, 12)]
    both = {**TWO, "signals": ("wide", "all")}
    assert plans("fsp", **both, **MAPPED) == [("4_x_0", *linear, 12), ("4_x_1", *linear, 8)]
    itself = {"signals": ("wide", "wide"), "student_layers": (2, 2)}
    assert plans("fsp", **itself, **MAPPED) == [("4_x_0", *linear, 12)] * 2
    many = {"signals": ("wide",), "student_layers": (0, 3)}
    names = [name for name, *_ in plans("emd", **many, **MAPPED)]
    assert names == ["4_x_layer0", "4_x_layer3"]
    one = plans("emd", **many, **MAPPED, projection_name="shared")
    assert one == [("shared", *linear, 12)] * 2


def test_pooled_output_of_a_student_with_a_pooler_is_accepted():
    student_facts = StudentFacts(architecture=SHAPE, pooler=True)
    term, families = check("contrastive", student_facts, signal="first", student="pooled")
    wants = term.wants(families)
    assert wants.pooled and not wants.hidden and term.student_layers == ()


def test_terms_are_read_and_checked_without_tensorflow():
    code = (
        "import sys, train.recipe\n"
        "from train.recipe.projection_kinds import check_kind\n"
        "check_kind('linear_tanh')\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
