"""What is refused when a run is put together: losses of one's own that lack their formula."""

from dataclasses import dataclass
from typing import Literal

import pytest

from limbeck.config import UsageError
from train import formula
from train.formula import BoundTerm
from train.job import check_formulas
from train.objective import Objective
from train.recipe import MaskedLMTerm, Term, term
from train.recipe.term import Wants


@pytest.fixture
def batch_term(monkeypatch):
    """A class of terms of reach `batch`, gone after the test."""
    monkeypatch.setattr(term, "_registered", dict(term._registered))
    monkeypatch.setattr(formula, "_formulas", dict(formula._formulas))

    @dataclass(frozen=True, kw_only=True)
    class OwnTerm(Term):
        loss: Literal["own"] = "own"

        @property
        def reach(self):
            return "batch"

    return OwnTerm


def objective(*classes):
    bound = [
        BoundTerm(term=cls(), name=f"t{i}", list="all", wants=Wants())
        for i, cls in enumerate(classes)
    ]
    return Objective(tuple(bound))


class Whole:
    def __call__(self, given): ...
    def statistics(self, given): ...
    def settle(self, total, *, count, bound): ...


class Half:
    def __call__(self, given): ...
    def statistics(self, given): ...


def test_batch_loss_that_does_not_gather_the_batch_is_refused(batch_term):
    formula.formula(batch_term)(lambda given: given)
    with pytest.raises(UsageError, match=r"^objective\[0\]\.loss: loss own: .* no BatchFormula"):
        check_formulas(objective(batch_term))
    formula.formula(batch_term)(Half())
    with pytest.raises(UsageError, match=r"^objective\[1\]\.loss: loss own: .* no BatchFormula"):
        check_formulas(objective(MaskedLMTerm, batch_term))
    formula.formula(batch_term)(Whole())
    check_formulas(objective(batch_term))


def test_term_without_a_formula_is_refused(batch_term):
    with pytest.raises(UsageError, match=r"^objective\[0\]\.loss: loss own: no formula is tied"):
        check_formulas(objective(batch_term))
