"""Live teachers and signals that do not fit, and teachers that break while they answer."""

import numpy as np
import pytest

from limbeck.config import LimbeckError, UsageError, yaml_file
from limbeck.labels.signals import to_dict
from limbeck.teachers import TeacherOutOfMemory, TeacherSource, load_teacher
from tests.train.live_teacher import HIDDEN, SIGNALS, TERMS, recipe_of, write_teacher
from train.inputs import open_inputs
from train.reading.live import LiveLabels
from train.recipe import LiveTeacher, Recipe


@pytest.fixture(scope="module")
def taught(shared_toy):
    """The toy examples and a teacher of them; (toy, teacher folder)."""
    return shared_toy, write_teacher(shared_toy.root / "teacher", shared_toy.tokenizer())


@pytest.mark.parametrize(
    ("term", "signal", "message"),
    [
        ({"loss": "kl"}, {"kind": "hidden", "layer": 1}, "kl cannot learn from 'x'.* hidden"),
        ({"loss": "kl", "temperature": 3}, {"kind": "sparse", "k": 2}, "not in the grid of 'x'"),
        ({"loss": "kl"}, {"kind": "sparse", "k": 99}, r"signals\.x: k is 99.*has 50 ids"),
        (
            HIDDEN | {"loss": "hidden_mse"},
            {"kind": "hidden", "layer": 3},
            r"signals\.x: layer is 3",
        ),
        (
            {"loss": "hidden_mse", "student_layer": 1},
            {"kind": "hidden", "layer": 1},
            "8 wide and 'x' 12",
        ),
        ({"loss": "kl"}, {"kind": "relations", "layer": 1}, "kl cannot learn from 'x'.* relations"),
        ({"loss": "kl"}, {"kind": "sparse", "k": 2, "records": 0.5}, "answers for every row"),
        ({"loss": "kl"}, None, "signals is empty"),
    ],
)
def test_signal_that_cannot_be_had_or_learned_from_is_refused(taught, term, signal, message):
    toy, folder = taught
    signals = {} if signal is None else {"x": signal}
    with pytest.raises(LimbeckError, match=message):
        _open(toy, {"path": folder, "signals": signals}, {**term, "signal": "x"})


def _open(toy, teacher, term, **data):
    data = {"examples": str(toy.root / "examples"), "teacher": teacher, **data}
    plain = toy.recipe(data=data, objective=[term])
    return open_inputs(yaml_file.from_plain(Recipe, plain, "recipe"))


def test_teacher_that_does_not_fit_is_refused(taught, tmp_path):
    toy, folder = taught
    vocabulary = toy.tokenizer()
    words = tmp_path / "words.txt"
    words.write_text("\n".join([*toy.words[:-1], "other"]) + "\n")
    few = tmp_path / "few.txt"
    few.write_text("\n".join(toy.words[:40]) + "\n")
    cases = {
        str(tmp_path / "lost"): "data.teacher: .*lost: no such teacher",
        write_teacher(tmp_path / "short", vocabulary, max_positions=8): "has sequences of up to",
        write_teacher(tmp_path / "words", words): "equal ids would mean other words",
        write_teacher(tmp_path / "few", few, vocab_size=40): "has 40 ids and the student's 50",
    }
    for path, message in cases.items():
        teacher = {"path": path, "signals": {"full": to_dict(SIGNALS["full"])}}
        with pytest.raises(UsageError, match=message):
            _open(toy, teacher, TERMS[0])
    stored = {"labels": {"full": str(toy.root / "labels/full")}}
    teacher = {"path": folder, "signals": {"full": to_dict(SIGNALS["full"])}}
    with pytest.raises(LimbeckError, match="teacher answers live; leave labels out"):
        _open(toy, teacher, TERMS[0], **stored)


class BrokenTeacher:
    """Gives NaN, or has no memory left."""

    def __init__(self, teacher, *, no_memory=False):
        self.facts, self.side = teacher.facts, teacher.side
        self._teacher, self._no_memory = teacher, no_memory

    def signals(self, batch, wanted):
        if self._no_memory:
            raise TeacherOutOfMemory("a batch does not fit; set a smaller --token-budget")
        answers = self._teacher.signals(batch, wanted)
        answers["full"]["states"][-1] = np.nan  # the last one: of the shortest row with a mask
        return answers


def test_broken_teacher_is_named_with_the_record(taught):
    toy, folder = taught
    inputs = open_inputs(recipe_of(toy, teacher=folder, objective=[TERMS[0]]))
    rows = inputs.examples.read(np.arange(12))
    settings = LiveTeacher(path=folder, signals={"full": SIGNALS["full"]}, batch_tokens=4096)
    for no_memory, message in (
        (False, "signal 'full', record {key} .*the teacher or its weights are broken"),
        (True, "does not fit; data.teacher.batch_tokens is 4096, set a smaller one"),
    ):
        teacher = BrokenTeacher(load_teacher(folder), no_memory=no_memory)
        source = TeacherSource(facts=teacher.facts, load=lambda options, t=teacher: t)
        labels = LiveLabels(settings, source, corpora=inputs.corpora, masker=None, seed=0)
        with_masks = np.flatnonzero(rows["num_masked"])
        shortest = rows["num_tokens"][with_masks].astype(int)
        last = with_masks[len(shortest) - 1 - np.argmin(shortest[::-1])]
        key = rows["key"][last].tobytes().hex()
        with pytest.raises(LimbeckError, match=message.format(key=key)):
            labels.arrays(rows)
