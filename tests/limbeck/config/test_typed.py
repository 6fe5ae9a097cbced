"""A dataclass that stands for a growing set of others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pytest

from limbeck.config import UsageError, yaml_file


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Stands for those in KNOWN."""

    kind: str
    colour: str = "red"

    @classmethod
    def variants(cls) -> tuple[str, Mapping[str, type]]:
        """The field, and the class of each value."""
        return "kind", {name: c for name, c in KNOWN.items() if issubclass(c, cls)}


@dataclass(frozen=True, kw_only=True)
class Circle(Shape):
    """One of them."""

    kind: Literal["circle", "disc"]
    radius: float

    def __post_init__(self) -> None:
        """Refuses what cannot be."""
        if self.radius < 0:
            raise ValueError(f"radius is {self.radius}; it must be >= 0")


@dataclass(frozen=True, kw_only=True)
class Square(Shape):
    """Another."""

    kind: Literal["square"] = "square"
    side: int = 1


KNOWN = {"circle": Circle, "disc": Circle, "square": Square}


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Where they may stand."""

    shapes: tuple[Shape, ...]
    named: dict[str, Shape]
    frame: Shape | None = None


TEXT = """\
shapes:
  - {kind: disc, radius: 2}
  - kind: square
    side: 3
named: {a: {kind: circle, radius: 1, colour: blue}}
"""


def test_block_is_of_the_class_that_its_field_names() -> None:
    drawing = yaml_file.loads(TEXT, Drawing, "d.yaml")
    assert drawing.shapes == (Circle(kind="disc", radius=2.0), Square(side=3))
    assert drawing.named == {"a": Circle(kind="circle", radius=1.0, colour="blue")}
    assert drawing.frame is None
    framed = yaml_file.loads(TEXT + "frame: {kind: square}\n", Drawing)
    assert framed.frame == Square()


def test_it_survives_yaml_plain_values_and_overrides() -> None:
    drawing = yaml_file.loads(TEXT, Drawing, "d.yaml")
    assert yaml_file.loads(yaml_file.dump(drawing), Drawing) == drawing
    assert yaml_file.from_plain(Drawing, yaml_file.to_plain(drawing), "plain") == drawing
    changed = yaml_file.override(drawing, ["shapes.1.side=7"])
    assert changed.shapes == (drawing.shapes[0], Square(side=7))


def test_class_added_later_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Dot(Shape):
        kind: Literal["dot"] = "dot"

    monkeypatch.setitem(KNOWN, "dot", Dot)
    assert yaml_file.loads("kind: dot\n", Shape) == Dot()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kind: square", "kind: sqare", "d.yaml:3: shapes[1].kind is 'sqare'"),
        ("kind: square", "kind: sqare", "did you mean 'square'?"),
        ("kind: square", "kind: triangle", "'circle', 'disc', 'square'"),
        ("    side: 3", "    radius: 3", "d.yaml:4: unknown key 'radius' in shapes[1]"),
        ("{kind: disc, radius: 2}", "{radius: 2}", "d.yaml:2: shapes[0] lacks 'kind', one of"),
        ("{kind: disc, radius: 2}", "{kind: disc}", "d.yaml:2: shapes[0] lacks 'radius'"),
        ("{kind: disc, radius: 2}", "{kind: disc, radius: -2}", "d.yaml:2: shapes[0]: radius is"),
        ("{kind: disc, radius: 2}", "disc", "d.yaml:2: shapes[0]"),
        ("{kind: disc, radius: 2}", "{kind: 3, radius: 2}", "d.yaml:2: shapes[0].kind"),
        ("circle, radius: 1", "square, radius: 1", "d.yaml:5: unknown key 'radius' in named.a"),
    ],
)
def test_block_of_none_of_them_is_refused_with_its_line(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(UsageError) as error:
        yaml_file.loads(TEXT.replace(old, new), Drawing, "d.yaml")
    assert message in str(error.value)
