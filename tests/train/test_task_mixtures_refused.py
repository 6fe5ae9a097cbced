"""Mixtures of corpora that contradict themselves or what feeds them."""

import numpy as np
import pytest

from limbeck.config import UsageError
from limbeck.labels import FinalSignal
from limbeck.labels.fitted import Fitted
from limbeck.records.dataset import open_dataset
from tests.train.corpora_toy import KL, MLM, STATES, mixture, opened, tasks, two, write_corpora


@pytest.fixture(scope="module")
def toy(shared_toy):
    return write_corpora(shared_toy)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("examples", "masked already; leave data.masking out"),
        (
            "tagging",
            "data.masking has no effect: no corpus is of kind unmasked-pairs or lines "
            r"\(classification: classification, tagging: tagging\)",
        ),
    ],
)
def test_masking_of_a_mixture_that_has_no_plain_text_is_refused(toy, name, message):
    corpora = {n: {"examples": str(toy.root / n)} for n in ("classification", name)}
    masking = {"tokenizer": str(toy.tokenizer())}
    plain = tasks(toy, "classification")
    plain["data"] = {**mixture(**corpora), "masking": masking}
    with pytest.raises(UsageError, match=message):
        opened(toy, **plain)


def test_corpora_and_terms_that_have_nothing_to_do_with_each_other_are_refused(toy):
    plain = tasks(toy, "classification", "tagging")
    plain["data"]["corpora"].append({"name": "idle", "examples": str(toy.root / "regression")})
    with pytest.raises(UsageError, match="data.corpora: 'idle' .* feeds no term"):
        opened(toy, **plain)
    plain = tasks(toy, "classification")
    plain["data"] = {"examples": str(toy.root / "regression")}
    with pytest.raises(UsageError, match=r"loss class needs the field class_id, which .*regress"):
        opened(toy, **plain)
    plain = tasks(toy, "classification", "regression")
    plain["data"]["corpora"][1]["examples"] = str(toy.root / "tagging")
    plain["model"]["heads"]["regression"]["num_labels"] = 1
    with pytest.raises(
        UsageError, match="no corpus feeds loss regression: .*; regression has not the field target"
    ):
        opened(toy, **plain)


def test_weights_and_labels_of_corpora_are_refused_where_they_stand(toy):
    plain = tasks(toy, "classification", "tagging", "regression")
    for part, weight in zip(plain["data"]["corpora"], (1.0, 1e-12, 1.0), strict=True):
        part["weight"] = weight
    with pytest.raises(UsageError, match=r"^data\.corpora: weights are \[1.0, 1e-12, 1.0\]"):
        opened(toy, **plain)
    plain = two(toy)
    plain["objective"] = [MLM, STATES]
    with pytest.raises(UsageError, match=r"data\.corpora\[0\]\.labels\.top: no term"):
        opened(toy, **plain)


def test_families_of_one_name_with_other_widths_are_refused(toy):
    toy.hidden(toy.root / "more", "wider", dim=20)
    plain = two(toy)
    plain["data"]["corpora"][1]["labels"] = {"states": str(toy.root / "wider")}
    with pytest.raises(UsageError, match=r"labels 'states': decoded, it is .*\(8,\).*\(20,\)"):
        opened(toy, **plain)
    plain["data"]["corpora"][1]["labels"] = {"states": str(toy.root / "more-lower")}
    toy.hidden(toy.root / "more", "more-lower", dim=8, layer=1)
    with pytest.raises(UsageError, match="labels 'states': layer is 2 in a and 1 in b; .* another"):
        opened(toy, **plain)


def test_families_of_one_name_of_teachers_with_other_decoders_are_refused(toy):
    """Formulas multiply every corpus' states by one decoder."""
    rng = np.random.default_rng(0)
    for name, examples in (("final", "examples"), ("more-final", "more")):
        kernel = rng.normal(size=(50, 8)).astype(np.float32)
        tensors = {"decoder/kernel": kernel, "decoder/bias": np.zeros(50, np.float32)}
        fitted = Fitted(signal=FinalSignal(codec="float32"), tensors=tensors)
        dataset = open_dataset(toy.root / examples)
        rows = dataset.read(np.arange(dataset.num_rows))
        states = rng.normal(size=(int(rows["num_masked"].sum()), 8)).astype(np.float32)
        toy._labels(dataset, name, fitted, {"states": states}, rows, 50, None, None)
    plain = two(toy)
    for corpus, name in zip(plain["data"]["corpora"], ("final", "more-final"), strict=True):
        corpus["labels"] = {"top": str(toy.root / name)}
    with pytest.raises(UsageError, match="labels 'top': decoder/kernel is not the same in a and b"):
        opened(toy, **{**plain, "objective": [KL, MLM]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampling_exponent": -1}, "sampling_exponent is -1"),
        ({"sampling_exponent": 0.5, "weight": 2.0}, "weights or sampling_exponent, one of the two"),
        ({"name": "a b"}, "name is 'a b'; leave blanks out"),
    ],
)
def test_sampling_that_contradicts_itself_is_refused(toy, change, message):
    plain = tasks(toy, "classification", "tagging")
    if "sampling_exponent" in change:
        plain["data"]["sampling_exponent"] = change.pop("sampling_exponent")
    for corpus in plain["data"]["corpora"]:
        corpus |= change
    with pytest.raises(UsageError, match=message):
        opened(toy, **plain)
    with pytest.raises(UsageError, match="no effect without several corpora"):
        opened(toy, data={"sampling_exponent": 0.5, "examples": str(toy.root / "examples")})
