"""Errors that come late find the line of the setting that they are about."""

from dataclasses import dataclass, field

import pytest

from limbeck.config import UsageError, yaml_file
from limbeck.config.located import parse_yaml
from limbeck.config.place import place_of, placed, remembered

TEXT = """\
name: toy
data:
  examples: data/examples
  labels:
    top: data/labels/top
    more-states: data/labels
objective:
- loss: kl
  temperature: 2
- {loss: mlm,
   weight: 0.5}
"""
ROOT = parse_yaml(TEXT, name="r.yaml")


@pytest.mark.parametrize(
    ("message", "where"),
    [
        ("name is 'toy'", "r.yaml:1"),
        ("data.labels.top: no such family", "r.yaml:5"),
        ("data.labels.more-states holds states", "r.yaml:6"),
        ("data.labels.other is not there", "r.yaml:4"),  # the deepest part that is written down
        ("data.heldout has no effect", "r.yaml:2"),
        ("objective[0].temperature is 3, which is not", "r.yaml:9"),
        ("objective[0].student_layer is 9", "r.yaml:8"),
        ("objective[1].weight is 0", "r.yaml:11"),
        ("objective[2].weight is 0", "r.yaml:7"),
        ("objective is empty", "r.yaml:7"),
        ("training.steps is 0", None),  # nothing of it was written
        # A text of the file at the beginning is where a directory was named.
        ("data/labels/top: labels of other examples", "r.yaml:5"),
        ("data/labels/other: no such directory", "r.yaml:6"),  # below data/labels
        ("data/examples/manifest.json: damaged", "r.yaml:3"),
        ("labels 'top' (data/labels/top): of another teacher", "r.yaml:5"),
        ("labels 'top' (data/labelled): of another teacher", None),
        ("data/labelled: no such directory", None),
        ("something else is wrong", None),
        ("", None),
    ],
)
def test_message_about_a_setting_finds_its_line(message, where):
    assert place_of(ROOT, message) == where


@dataclass(frozen=True, kw_only=True)
class Settings:
    steps: int = 1
    layers: tuple[int, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        for index, layer in enumerate(self.layers):
            if layer < 1:
                raise ValueError(f"layers[{index}] is {layer}; it must be at least 1")


def test_error_that_passes_gets_file_and_line_and_others_stay_as_they_are():
    settings = yaml_file.loads("steps: 1\nlayers:\n- 1\n- 2\n", Settings, "s.yaml")
    expected = r"^s\.yaml:4: layers\[1\] is 2, but there is one$"
    with pytest.raises(UsageError, match=expected), placed(settings):
        raise UsageError("layers[1] is 2, but there is one")
    with pytest.raises(UsageError, match="^the disk is full$"), placed(settings):
        raise UsageError("the disk is full")
    with pytest.raises(ValueError, match="^steps$"), placed(settings):
        raise ValueError("steps")  # not one of ours
    assert settings == Settings(steps=1, layers=(1, 2))


def test_override_is_the_place_of_what_it_replaced():
    settings = yaml_file.loads("steps: 1\n", Settings, "s.yaml", overrides=["steps=7"])
    with pytest.raises(UsageError, match="^--set steps=7: steps is 7"), placed(settings):
        raise UsageError("steps is 7, too many")


def test_settings_made_in_python_have_no_places():
    settings = Settings(steps=2)
    assert remembered(settings) is None
    with pytest.raises(UsageError, match="^steps is 2$"), placed(settings):
        raise UsageError("steps is 2")


def test_message_of_post_init_is_placed_at_the_item_that_it_names():
    with pytest.raises(UsageError, match=r"^s\.yaml:3: layers\[1\] is 0"):
        yaml_file.loads("layers:\n- 1\n- 0\nsteps: 3\n", Settings, "s.yaml")
