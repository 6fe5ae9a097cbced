"""Strict recipes: what is read, what is refused and with which words, and round trips."""

import dataclasses
import enum
import pathlib
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.config.errors import UsageError
from limbeck.config.yaml_file import dump, from_plain, load, loads, override, to_plain


class Decay(enum.Enum):
    """A choice."""

    LINEAR = "linear"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Sparse:
    """One member of a union."""

    k: int
    kind: Literal["sparse"] = "sparse"
    positions: Literal["masked"] = "masked"


@dataclass(frozen=True, kw_only=True)
class Hidden:
    """The other member; `positions` has a value in common and so tells nothing."""

    layer: int
    kind: Literal["hidden"] = "hidden"
    positions: Literal["masked", "all"] = "all"


@dataclass(frozen=True, kw_only=True)
class Term:
    """A nested mapping with a check of its own."""

    loss: Literal["kl", "soft_ce", "mlm"]
    weight: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Refuses what cannot be."""
        if self.weight < 0:
            raise ValueError(f"weight is {self.weight}; it must be >= 0")
        if self.temperature == 13:
            raise ValueError("not on a Friday")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every kind of annotation."""

    name: str
    objective: tuple[Term, ...] = ()
    rate: float = 1.0
    steps: int = 10
    verbose: bool = False
    decay: Decay = Decay.LINEAR
    layers: tuple[int, ...] | None = None
    pair: tuple[int, str] | None = None
    labels: dict[str, str] = field(default_factory=dict)
    signals: dict[str, Sparse | Hidden] = field(default_factory=dict)
    every: int | Literal["epoch", "never"] = "epoch"
    out: pathlib.Path = pathlib.Path("runs")
    marked: Annotated[str | None, "tyro looks at this"] = None

    @property
    def derived(self) -> int:
        """Not a setting."""
        return self.steps * 2


FULL = """\
name: distil  # a comment
objective:
  - loss: kl
    temperature: 2
  - {loss: mlm, weight: 0.5}
rate: 5e-5
steps: 10_000
verbose: true
decay: none
layers: [1, 3]
pair: [1, one]
labels: {teacher: labels/t}
signals:
  logits: {kind: sparse, k: 8}
  states: {kind: hidden, layer: 2}
every: 5
out: runs/x
marked: '010'
"""


def test_every_annotation_is_read() -> None:
    assert loads(FULL, Recipe) == Recipe(
        name="distil",
        objective=(Term(loss="kl", temperature=2.0), Term(loss="mlm", weight=0.5)),
        rate=5e-5,
        steps=10_000,
        verbose=True,
        decay=Decay.NONE,
        layers=(1, 3),
        pair=(1, "one"),
        labels={"teacher": "labels/t"},
        signals={"logits": Sparse(k=8), "states": Hidden(layer=2)},
        every=5,
        out=pathlib.Path("runs/x"),
        marked="010",
    )


def test_whole_number_becomes_a_float_where_one_is_wanted() -> None:
    recipe = loads("name: a\nrate: 2", Recipe)
    assert type(recipe.rate) is float


REFUSED = [
    # The line that the whole loader is for.
    (
        "name: a\nobjective:\n- loss: kl\n  temprature: 2",
        "r.yaml:4: unknown key 'temprature' in objective[0]; did you mean 'temperature'?",
    ),
    (
        "name: a\nzzz: 1",
        "r.yaml:2: unknown key 'zzz' in the top level; known keys: name, objective",
    ),
    ("name: a\nsteps: 1\nname: b", "r.yaml:3: key 'name' is repeated; first at r.yaml:1"),
    ("name: a\nlabels:\n  x: a\n  'x': b", "r.yaml:4: key 'x' is repeated; first at r.yaml:3"),
    ("name: a\nsteps: 010", "r.yaml:2: '010' is ambiguous"),
    ("name: a\nsteps: 0x10", "r.yaml:2: '0x10' is ambiguous"),
    ("name: a\nsteps: 1:30", "r.yaml:2: '1:30' is ambiguous"),
    ("name: a\nsteps: 1_0", "r.yaml:2: '1_0' is ambiguous"),
    ("name: no", "r.yaml:1: 'no' is ambiguous"),
    ("name: a\nverbose: True", "r.yaml:2: 'True' is ambiguous"),
    ("name: a\nverbose: 1", "r.yaml:2: verbose is 1; expected true or false"),
    ("name: a\nrate: .inf", "r.yaml:2: '.inf' is ambiguous: write a finite number"),
    ("name: a\nrate: .nan", "r.yaml:2: '.nan' is ambiguous"),
    ("name: a\nrate: 1e999", "r.yaml:2: '1e999' is too large"),
    ("name: a\nrate: '5e-5'", "r.yaml:2: rate is '5e-5'; expected a number; remove the quotes"),
    ("name: 2024", "r.yaml:1: name is 2024; expected text; quote it"),
    ("name:", "r.yaml:1: name is null; expected text"),
    ("name: [a]", "r.yaml:1: name is a list; expected text"),
    ("name: a\nsteps: 1.0", "r.yaml:2: steps is 1.0; expected a whole number"),
    ("name: a\nsteps: 1e3", "r.yaml:2: steps is 1000.0; expected a whole number"),
    ("name: a\nsteps: true", "r.yaml:2: steps is true; expected a whole number"),
    ("name: a\nobjective: kl", "r.yaml:2: objective is 'kl'; expected a list"),
    ("name: a\nobjective: [kl]", "r.yaml:2: objective[0] is 'kl'; expected a mapping"),
    ("name: a\nobjective:\n- weight: 2", "r.yaml:3: objective[0] lacks 'loss' (one of 'kl', "),
    (
        "name: a\nobjective: [{loss: klm}]",
        "r.yaml:2: objective[0].loss is 'klm'; expected one of 'kl', 'soft_ce', 'mlm'; "
        "did you mean 'kl'?",
    ),
    # A message that names a field points at its line, another one at its mapping.
    (
        "name: a\nobjective:\n- loss: kl\n  weight: -1",
        "r.yaml:4: objective[0]: weight is -1.0; it must be >= 0",
    ),
    (
        "name: a\nobjective:\n- loss: kl\n  temperature: 13",
        "r.yaml:3: objective[0]: not on a Friday",
    ),
    ("name: a\ndecay: cosine", "r.yaml:2: decay is 'cosine'; expected one of 'linear', 'none'"),
    ("name: a\nlayers: 3", "r.yaml:2: layers is 3; expected a list or null"),
    ("name: a\nlayers:\n- 1\n- x", "r.yaml:4: layers[1] is 'x'; expected a whole number"),
    ("name: a\npair: [1]", "r.yaml:2: pair has 1 entries; expected 2"),
    ("name: a\nevery: always", "r.yaml:2: every is 'always'; expected one of 'epoch', 'never'"),
    ("name: a\nevery: 1.5", "r.yaml:2: every is 1.5; expected"),
    ("name: a\nlabels: {1: a}", "r.yaml:2: a key must be text; quote it"),
    ("name: a\nlabels: [a]", "r.yaml:2: labels is a list; expected a mapping"),
    (
        "name: a\nsignals: {s: {k: 1}}",
        "r.yaml:2: signals.s lacks 'kind', one of 'sparse', 'hidden'",
    ),
    ("name: a\nsignals: {s: {kind: x, k: 1}}", "r.yaml:2: signals.s.kind is 'x'; expected one of"),
    (
        "name: a\nsignals:\n  s:\n    kind: sparse\n    layer: 1",
        "r.yaml:5: unknown key 'layer' in signals.s",
    ),
    ("name: a\nderived: 3", "r.yaml:2: unknown key 'derived'"),
    ("steps: 3", "r.yaml:1: the top level lacks 'name' (text)"),
    ("", "r.yaml:1: the top level lacks 'name' (text)"),
    ("- 1", "r.yaml:1: the top level is a list; expected a mapping"),
    ("name: &x a", "r.yaml:1: anchor '&x' is not supported"),
    ("name: a\nout: *x", "r.yaml:2: alias '*x' is not supported"),
    ("name: !!str 3", "r.yaml:1: tag 'tag:yaml.org,2002:str' is not supported"),
    (
        "name: !!python/object/apply:os.system [ls]",
        "r.yaml:1: tag 'tag:yaml.org,2002:python/object",
    ),
    ("name: a\n<<: {steps: 3}", "r.yaml:2: unknown key '<<'"),
    ("? [a]\n: b", "r.yaml:1: a key must be text"),
    ("name: a\n---\nname: b", "r.yaml:2: expected a single document"),
    ("name: a\n  steps: 3", "r.yaml:2: mapping values are not allowed here"),
    ("name: a\n\tsteps: 3", "r.yaml:2: "),
    ('name: a\nout: "', "r.yaml:2: "),
    ("name: a\nout: \x00", "r.yaml:2: character '\\x00' is not allowed"),
    ("[" * 5000, "r.yaml:1: nested more than 64 levels deep"),
    ("{a: " * 5000, "r.yaml:1: nested more than 64 levels deep"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=range(len(REFUSED)))
def test_wrong_recipe_is_refused_with_line_and_way_out(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        loads(text, Recipe, "r.yaml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("r.yaml:")
    assert "\n" not in str(caught.value)


OVERRIDES = [
    ("objective.0.weight=2", lambda r: r.objective[0].weight, 2.0),
    ("objective.1={loss: kl, weight: 3}", lambda r: r.objective[1], Term(loss="kl", weight=3)),
    ("layers=[2]", lambda r: r.layers, (2,)),
    ("layers=", lambda r: r.layers, None),
    ("name=b", lambda r: r.name, "b"),
    ("name='010'", lambda r: r.name, "010"),
    ("labels.other=x=y", lambda r: r.labels, {"teacher": "labels/t", "other": "x=y"}),
    ("rate=1e-3", lambda r: r.rate, 1e-3),
    ("signals.states.layer=4", lambda r: r.signals["states"], Hidden(layer=4)),
]


@pytest.mark.parametrize(("assignment", "get", "expected"), OVERRIDES)
def test_override_replaces_one_value(assignment: str, get, expected) -> None:  # noqa: ANN001
    recipe = loads(FULL, Recipe, overrides=[assignment])
    assert get(recipe) == expected
    assert override(loads(FULL, Recipe), [assignment]) == recipe


def test_override_of_something_left_out_makes_it() -> None:
    assert loads("name: a", Recipe, overrides=["labels.t=x", "labels.u=y"]).labels == {
        "t": "x",
        "u": "y",
    }
    assert loads("", Recipe, overrides=["name=a"]).name == "a"
    assert loads("name: a\nlayers: null", Recipe, overrides=["layers=[1]"]).layers == (1,)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("steps", "--set steps: expected key=value"),
        ("=3", "--set =3: expected key=value"),
        ("objective..weight=3", "expected key=value"),
        ("objective.7.weight=2", "objective is a list of 2; '7' is no index of it"),
        ("objective.-1.weight=2", "objective is a list of 2; '-1' is no index of it"),
        ("objective.0.wight=2", "unknown key 'wight' in objective[0]; did you mean 'weight'?"),
        ("name.x=2", "name is 'distil', which has no 'x' inside"),
        ("steps=x", "--set steps=x: steps is 'x'; expected a whole number"),
        ("steps=010", "--set steps=010: '010' is ambiguous"),
        ("objective.0.weight=-1", "--set objective.0.weight=-1: objective[0]: weight is -1.0"),
        ("name=[a", "--set name=[a: while parsing a flow sequence"),
    ],
)
def test_wrong_override_is_refused_and_named(assignment: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        loads(FULL, Recipe, "r.yaml", overrides=[assignment])
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"--set {assignment}")


def test_full_recipe_survives_yaml_and_plain_values() -> None:
    recipe = loads(FULL, Recipe)
    assert loads(dump(recipe), Recipe) == recipe
    assert from_plain(Recipe, to_plain(recipe), "config.json") == recipe
    assert list(to_plain(recipe)) == [f.name for f in dataclasses.fields(Recipe)]


NAMES = st.text(max_size=20) | st.sampled_from(
    ["010", "no", "1e5", "5e-5", "", "~", "null", "true", "1:30", " a", "a: b", "- a", "*x", "a #b"]
)


@settings(max_examples=200, deadline=None)
@given(
    name=NAMES.filter(lambda text: all(c.isprintable() or c in "\n\t" for c in text)),
    rate=st.floats(allow_nan=False, allow_infinity=False),
    steps=st.integers(),
    labels=st.dictionaries(st.from_regex(r"[a-z0-9_.-]{1,8}", fullmatch=True), NAMES, max_size=3),
)
def test_any_settings_survive_yaml(name: str, rate: float, steps: int, labels: dict) -> None:
    if not all(c.isprintable() for text in labels.values() for c in text):
        labels = {}
    recipe = Recipe(name=name, rate=rate, steps=steps, labels=labels)
    assert loads(dump(recipe), Recipe) == recipe
    # Other YAML tools read the same text where they read text at all.
    assert isinstance(yaml.safe_load(dump(recipe))["name"], str)


def test_file_errors_name_the_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "r.yaml"
    with pytest.raises(UsageError, match="r.yaml: No such file"):
        load(path, Recipe)
    path.write_bytes(b"name: a\nout: \xff\n")
    with pytest.raises(UsageError, match="r.yaml:2: byte 0xff is not UTF-8"):
        load(path, Recipe)
    path.write_text(FULL)
    assert load(path, Recipe, overrides=["steps=3"]).steps == 3


def test_plain_values_pass_the_same_checks() -> None:
    with pytest.raises(UsageError, match=r"config.json: unknown key 'x' in the top level"):
        from_plain(Recipe, {"name": "a", "x": 1}, "config.json")
    with pytest.raises(UsageError, match=r"config.json: rate is nan; expected a finite number"):
        from_plain(Recipe, {"name": "a", "rate": float("nan")}, "config.json")
    with pytest.raises(UsageError, match="not a plain value"):
        from_plain(Recipe, {"name": b"a"}, "config.json")
    with pytest.raises(ValueError, match="finite"):
        to_plain(Recipe(name="a", rate=float("inf")))
    with pytest.raises(TypeError, match="bytes"):
        to_plain({"a": b""})


@dataclass(frozen=True, kw_only=True)
class Vague:
    """Annotations that settings cannot have."""

    anything: list[int] | None = None
    keyed: dict[int, str] | None = None


@pytest.mark.parametrize("text", ["anything: [1]", "keyed: {a: b}"])
def test_unsupported_annotation_is_an_error_of_the_program(text: str) -> None:
    with pytest.raises(TypeError):
        loads(text, Vague)
