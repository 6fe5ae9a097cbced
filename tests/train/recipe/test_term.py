"""The registry of terms: what a recipe's block becomes, and how users add their own."""

from dataclasses import dataclass
from typing import Literal

import pytest

from limbeck.config import UsageError, yaml_file
from train.recipe import HiddenTerm, MaskedLMTerm, Term, make_term, register, term, term_names


@pytest.fixture
def registry(monkeypatch):
    """A copy: what a test registers is gone after it."""
    monkeypatch.setattr(term, "_registered", dict(term._registered))


def test_block_becomes_the_class_that_its_loss_names(registry):
    @register
    @dataclass(frozen=True, kw_only=True)
    class HuberTerm(HiddenTerm):
        loss: Literal["huber"] = "huber"
        delta: float = 1.0

    text = "loss: huber\nsignal: s\nstudent_layer: 1\ndelta: 2\n"
    huber = yaml_file.loads(text, Term, "t.yaml")
    assert huber == HuberTerm(signal="s", student_layer=1, delta=2.0)
    assert huber == make_term("huber", signal="s", student_layer=1, delta=2.0)
    assert yaml_file.loads(yaml_file.dump(huber), Term) == huber
    # A class stands for itself and those derived from it.
    assert set(HuberTerm.variants()[1]) == {"huber"}
    assert {"huber", "hidden_mse"} <= set(HiddenTerm.variants()[1])
    assert "mlm" not in HiddenTerm.variants()[1]


def test_term_that_is_not_registered_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match=r"loss 'huber' is none of .*mlm"):
        make_term("huber")
    with pytest.raises(UsageError, match=r"t\.yaml:1: .*'huber'.*'mlm'"):
        yaml_file.loads("loss: huber\n", Term, "t.yaml")


def test_loss_of_two_classes_is_refused_and_registering_again_is_not(registry):
    with pytest.raises(ValueError, match="loss 'mlm' is that of MaskedLMTerm already"):

        @register
        @dataclass(frozen=True, kw_only=True)
        class Mine(Term):
            loss: Literal["mlm"] = "mlm"

    assert register(MaskedLMTerm) is MaskedLMTerm


def test_class_without_the_name_of_a_loss_is_refused(registry):
    with pytest.raises(ValueError, match=r"Mine\.loss must be a Literal"):

        @register
        @dataclass(frozen=True, kw_only=True)
        class Mine(Term):
            delta: float = 1.0


def test_settings_of_another_loss_are_refused():
    with pytest.raises(ValueError, match="loss mlm has no setting 'temperature'; it has loss, we"):
        make_term("mlm", temperature=2.0)
    with pytest.raises(ValueError, match="weight is 0"):
        make_term("mlm", weight=0.0)


def test_terms_of_one_loss_are_numbered_from_the_second_on():
    kl = make_term("kl", signal="a")
    mlm = make_term("mlm")
    assert term_names([kl, mlm, kl, kl, mlm]) == ("kl", "mlm", "kl_2", "kl_3", "mlm_2")
