"""Terms on attention over encoders and decoders of ours: masks, shared keys, rotary positions.

A model that learns from itself has nothing to learn: its scores, rebuilt from what an extraction
stores, are its own. Other values are those of float64 NumPy.
"""

import functools
import math

import numpy as np
import pytest
import tensorflow as tf

from limbeck.architectures import DecoderArchitecture, EncoderArchitecture
from limbeck.labels import codecs
from limbeck.labels.signals import AttentionSignal, QkvSignal, RelationsSignal
from limbeck.models.basic import made_with
from limbeck.models.build import build
from limbeck.models.names import named_variables
from limbeck.teachers import Items, TeacherBatch, load_teacher
from limbeck.weights.export import export_hf
from tests.decoders import GPT2, LLAMA
from train.formula import Outputs
from train.objective import bind
from train.recipe import StudentFacts, make_term
from train.starting.attention_facts import live_facts

V, T, LAYERS = 30, 8, 2
LENGTHS = np.array([8, 5, 1])
REAL = np.arange(T) < LENGTHS[:, None]
IDS = np.where(REAL, np.random.default_rng(0).integers(5, V, REAL.shape), 0).astype(np.int32)
SIZES = {"vocab_size": V, "num_layers": LAYERS, "max_positions": T, "initializer_range": 0.4}


def encoder(hidden_dim=24):
    return EncoderArchitecture(hidden_dim=hidden_dim, num_heads=4, intermediate_dim=12, **SIZES)


def decoder(hidden_dim, **parts):
    return DecoderArchitecture(
        hidden_dim=hidden_dim, num_heads=4, intermediate_dim=12, **SIZES, **parts
    )


def gpt2(hidden_dim=24):
    return decoder(hidden_dim, **GPT2, num_kv_heads=4)


def llama(hidden_dim=24):
    return decoder(hidden_dim, **LLAMA, num_kv_heads=2, rope_theta=100.0)


SHAPES = {"bert": encoder, "gpt2": gpt2, "llama": llama}
SIGNALS = {
    "inputs": RelationsSignal(layer=2, codec="float32"),
    "qkv": QkvSignal(layer=2, codec="float32"),
    "maps": AttentionSignal(layer=2, codec="float32"),
}


@functools.cache
def make(shape, seed):
    """A model that tests only look at."""
    head = "masked_lm" if isinstance(shape, EncoderArchitecture) else "causal_lm"
    return build(shape, head=head, seed=seed)


class Family:
    """A stored family as terms and `bind` look at it."""

    def __init__(self, name, fitted, facts, list_name):
        self.name, self.fitted, self.signal = name, fitted, fitted.signal
        self.attention, self.list_name = facts, list_name


class Taught:
    """A teacher's families and their arrays for the rows, or for some of them only."""

    def __init__(self, teacher, rows=(0, 1, 2), *, list_name="all"):
        labelled = REAL & np.isin(np.arange(len(REAL)), rows)[:, None]
        self.index = np.flatnonzero(labelled).astype(np.int32)
        self.list_name = list_name
        self.tokens = {
            "ids": IDS,
            "segment_ids": np.zeros_like(IDS),
            "attention_mask": REAL.astype(np.int32),
        }
        items = {"all": Items(index=self.index, true_ids=np.zeros_like(self.index))}
        raw = teacher.raw(TeacherBatch(**self.tokens, items=items), SIGNALS)
        self.families, self.arrays = {}, {}
        for name, signal in SIGNALS.items():
            fitted, _ = codecs.fit(signal, raw[name], side=teacher.side(signal))
            encoded = codecs.encode(fitted, raw[name], true_ids=None, draws=None)
            self.families[name] = Family(name, fitted, live_facts(teacher.facts), list_name)
            self.arrays[name] = codecs.decode(fitted, encoded)

    @property
    def batch(self):
        valid = np.ones(len(self.index), bool)
        items = {self.list_name: {"index": self.index, "valid": valid}}
        batch = {**self.tokens, "items": items, "labels": {}, "teacher": self.arrays}
        return tf.nest.map_structure(tf.constant, batch)


def value_and_gradients(student, taught, settings):
    term = make_term(**settings)
    facts = StudentFacts(architecture=student.architecture)
    term.check([taught.families[name] for name in term.signals], facts)
    objective = bind([term], taught.families, facts)
    batch, wants = taught.batch, objective.terms[0].wants
    variables = named_variables(student)
    with tf.GradientTape() as tape:
        found = student.encode(
            batch["ids"],
            batch["segment_ids"],
            batch["attention_mask"],
            dropout=None,
            attention_layers=wants.attentions,
            score_layers=wants.scores,
            qkv_layers=wants.qkv,
        )
        qkv = {n: tuple(tf.cast(x, tf.float32) for x in parts) for n, parts in found.qkv.items()}
        outputs = Outputs(attentions=found.attentions, scores=found.scores, qkv=qkv)
        total = objective.sums({"fed": outputs}, batch, {})[0]
    values = [v.value for v in variables.values()]
    gradients = tape.gradient(total, values, unconnected_gradients="zero")
    return float(total), [tf.convert_to_tensor(g).numpy() for g in gradients]


@pytest.fixture(scope="module", params=SHAPES)
def taught(request, tmp_path_factory):
    """(model, what it teaches, the shape's function)."""
    model = make(SHAPES[request.param](), seed=1)
    folder = tmp_path_factory.mktemp(request.param) / "teacher"
    export_hf(model, str(folder), tokenizer=None)
    return model, Taught(load_teacher(str(folder))), SHAPES[request.param]


ONE = {"student_layer": 2}
TERMS = [
    {"loss": "relations", "signal": "inputs", "relation_heads": 2, **ONE},
    {"loss": "relations", "signal": "qkv", "relation_heads": 8, "relations": ("qk",), **ONE},
    {"loss": "minilm_v1", "signal": "inputs", **ONE},
    {"loss": "minilm_v1", "signal": "qkv", "attention_signal": "maps", **ONE},
    {"loss": "attention_mse", "signal": "inputs", **ONE},
    {"loss": "attention_mse", "signal": "maps", "on": "probabilities", **ONE},
    {"loss": "attention_mse_sum", "signal": "qkv", **ONE},
    {"loss": "tinybert_attention", "signal": "qkv", **ONE},
]


@pytest.mark.parametrize("settings", TERMS, ids=lambda s: "-".join(map(str, s.values())))
def test_model_has_nothing_to_learn_from_itself(taught, settings):
    """Scores of about 10 agree to some ulps: squares and divergences are of their square."""
    model, lesson, _ = taught
    total, gradients = value_and_gradients(model, lesson, settings)
    assert abs(total) < 1e-5
    assert max(np.abs(g).max() for g in gradients) < 1e-3
    other = make(model.architecture, seed=2)
    far, gradients = value_and_gradients(other, lesson, settings)
    assert far > 1e-2 and max(np.abs(g).max() for g in gradients) > 1e-2


@pytest.mark.parametrize("loss", ["attention_ce", "attention_ce_mean"])
def test_cross_entropy_of_a_model_to_itself_cannot_fall(taught, loss):
    model, lesson, _ = taught
    settings = {"loss": loss, "signal": "inputs", **ONE}
    total, gradients = value_and_gradients(model, lesson, settings)
    assert total > 0 and max(np.abs(g).max() for g in gradients) < 1e-3


def slow_relation(left, right, heads, length, causal):
    """(A, t, t) of the real tokens of one row, from the definition."""
    parts = zip(
        np.split(left[:length].astype(np.float64), heads, axis=-1),
        np.split(right[:length].astype(np.float64), heads, axis=-1),
        strict=True,
    )
    scores = np.stack([x @ y.T / math.sqrt(x.shape[-1]) for x, y in parts])
    if causal:
        scores = np.where(np.tri(length, dtype=bool), scores, -np.inf)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def slow_kl(p, q):
    ratio = np.log(np.where(p > 0, p, 1.0)) - np.log(np.where(p > 0, q, 1.0))
    return (p * ratio).sum(-1).mean(0).sum()


@pytest.mark.parametrize("kind", ["qq", "kk", "vv", "qk"])
def test_relations_of_narrower_students_match_the_definition(taught, kind):
    """24 wide against 8; llama's keys are half as wide and shared in pairs."""
    model, lesson, shape = taught
    student = make(shape(8), seed=3)
    heads = 4
    settings = {"loss": "relations", "signal": "qkv", "relation_heads": heads, **ONE}
    total, _ = value_and_gradients(student, lesson, {**settings, "relations": (kind,)})
    causal = isinstance(model.architecture, DecoderArchitecture)
    expected = 0.0
    sides = [
        side_by_side(m, kind, repeats=m.architecture.num_heads // kv_heads(m))
        for m in (model, student)
    ]
    for row, length in enumerate(LENGTHS):
        p, q = (slow_relation(x[row], y[row], heads, length, causal) for x, y in sides)
        expected += slow_kl(p, q)
    np.testing.assert_allclose(total, expected, rtol=2e-5)  # a float32 model's queries and keys


def kv_heads(model):
    return getattr(model.architecture, "num_kv_heads", model.architecture.num_heads)


def side_by_side(model, kind, *, repeats):
    found = model.encode(
        tf.constant(IDS), tf.zeros_like(IDS), tf.constant(REAL.astype(np.int32)), qkv_layers=(2,)
    ).qkv[2]
    named = dict(zip("qkv", (x.numpy() for x in found), strict=True))
    parts = [named[letter] for letter in kind]
    if kind == "qk":
        parts[1] = np.repeat(parts[1], repeats, axis=1)
    return [np.concatenate(list(x.transpose(1, 0, 2, 3)), axis=-1) for x in parts]


@pytest.fixture(scope="module")
def bert_teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher") / "teacher"
    export_hf(make(encoder(), seed=1), str(folder), tokenizer=None)
    return load_teacher(str(folder))


@pytest.fixture(scope="module")
def partly(bert_teacher):
    """What it teaches of rows 0 and 2, and of each of them alone."""
    both = Taught(bert_teacher, (0, 2), list_name="all of inputs")
    return both, [Taught(bert_teacher, (row,)) for row in (0, 2)]


@pytest.mark.parametrize("settings", [TERMS[0], TERMS[2], TERMS[7]])
def test_rows_without_labels_count_for_nothing(partly, settings):
    """A partial family's term is that of a batch of its rows alone."""
    student, (both, alone) = make(encoder(8), seed=4), partly
    found, gradients = value_and_gradients(student, both, settings)
    each = [value_and_gradients(student, lesson, settings) for lesson in alone]
    np.testing.assert_allclose(found, sum(total for total, _ in each), rtol=1e-6)
    for ours, *parts in zip(gradients, *(grads for _, grads in each), strict=True):
        np.testing.assert_allclose(ours, sum(parts), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_students_of_half_precision_have_the_same_terms(bert_teacher, precision):
    """Scores and softmaxes are float32; queries and keys have 8 or 11 bits."""
    lesson = Taught(bert_teacher)
    with made_with(precision):
        half = build(encoder(8), head="masked_lm", seed=4)
    whole = make(encoder(8), seed=4)
    for settings in TERMS:
        expected, _ = value_and_gradients(whole, lesson, settings)
        found, gradients = value_and_gradients(half, lesson, settings)
        np.testing.assert_allclose(found, expected, rtol=0.05)
        assert all(np.isfinite(g).all() for g in gradients)
