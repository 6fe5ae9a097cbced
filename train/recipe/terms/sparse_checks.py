"""What terms between distributions refuse in a sparse family. No TensorFlow."""

from typing import Any

from limbeck.config.errors import UsageError
from limbeck.labels.signals import SparseSignal
from train.recipe.temperatures import CwsmTemperature, FlswTemperature

__all__ = ["check_sparse"]


def check_sparse(term: Any, signal: SparseSignal, name: str) -> None:
    """Refuses temperatures that a sparse family does not tell, and settings without effect on it.

    Args:
      term: a `train.recipe.terms.logits.DistributionTerm`.
      signal: of the family.
      name: of the family.

    Raises:
      UsageError: begins with the name of the setting.
    """
    if isinstance(term.temperature, FlswTemperature):
        raise UsageError(
            f"temperature flsw compares all logits, and {name!r} keeps some; take cwsm, or a "
            "final family"
        )
    if signal.form == "lean" and signal.sample:
        _check_lean(term, signal, name)
    elif signal.sample and term.missing_mass is None:
        raise UsageError(
            f"missing_mass must be given: {name!r} has a sample of what is outside its head; take "
            "sampled, which learns from it (loss soft_ce), or bucket, which does without"
        )
    elif term.missing_mass == "sampled":
        _check_sampled(term, signal, name)
    elif term.missing_mass == "renormalised":  # needs nothing that only the grid tells
        _refuse_approximation(term, "renormalised targets are exact at any temperature")
    elif isinstance(term.temperature, CwsmTemperature):
        _check_scheduled(term, signal, name)
    elif term.temperature in signal.temperatures:
        _refuse_approximation(term, f"temperature {term.temperature:g} is in the grid of {name!r}")
    else:
        _check_off_grid(term, signal, name)


def _check_lean(term: Any, signal: SparseSignal, name: str) -> None:
    """Refuses what a weighted sample at one temperature does not tell."""
    if term.loss == "kl":
        raise UsageError(
            f"loss kl cannot learn from {name!r}: a lean sample does not tell the "
            "teacher's entropy; take soft_ce, whose gradient is the same"
        )
    if term.missing_mass is not None:
        raise UsageError(
            f"missing_mass has no effect: {name!r} is a sample of the whole distribution"
        )
    _refuse_approximation(term, f"{name!r} is a sample at one temperature")
    if term.temperature not in signal.temperatures:
        raise UsageError(
            f"temperature must be {signal.temperatures[0]:g}, at which {name!r} was sampled"
        )


def _check_sampled(term: Any, signal: SparseSignal, name: str) -> None:
    """Refuses families and temperatures without weights."""
    if not signal.sample:
        raise UsageError(
            f"missing_mass is sampled, and {name!r} has no sample; take bucket, or extract it "
            "with a threshold and sample: true"
        )
    if term.temperature not in signal.temperatures:
        raise UsageError(
            f"temperature {term.temperature:g} is not in the grid of {name!r}, "
            f"{list(signal.temperatures)}, where alone its sample has weights; choose one of "
            "these or extract again with it"
        )


def _refuse_approximation(term: Any, why: str) -> None:
    if term.approximate_temperature:
        raise UsageError(f"approximate_temperature has no effect: {why}")


def _check_scheduled(term: Any, signal: SparseSignal, name: str) -> None:
    schedule: CwsmTemperature = term.temperature
    if not term.approximate_temperature:
        raise UsageError(
            f"temperature cwsm leaves the grid of {name!r}, {list(signal.temperatures)}; set "
            "approximate_temperature: true, or take a final family"
        )
    low, high = signal.temperatures[0], signal.temperatures[-1]
    if schedule.ceiling is None or schedule.floor < low or schedule.ceiling > high:
        raise UsageError(
            f"temperature cwsm must stay in the grid of {name!r}: set a floor from {low:g} and "
            f"a ceiling up to {high:g}"
        )


def _check_off_grid(term: Any, signal: SparseSignal, name: str) -> None:
    grid, temperature = signal.temperatures, term.temperature
    if not grid[0] <= temperature <= grid[-1]:
        raise UsageError(
            f"temperature {temperature:g} is not in the grid of {name!r}, {list(grid)}, nor "
            "between its ends; choose one of these or extract again with it"
        )
    if not term.approximate_temperature:
        raise UsageError(
            f"temperature {temperature:g} is not in the grid of {name!r}, {list(grid)}; "
            "choose one of these, extract again with it, or set approximate_temperature: true"
        )
