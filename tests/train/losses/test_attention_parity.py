"""Terms on attention and relations through whole models, against PyTorch in float64.

Teacher and student are transformers' BertForMaskedLM; each row is fed alone there, without padding,
and the losses are written from the papers, query by query. Gradients of every kind of weight agree
to 2e-5 of the largest: what float32 leaves of two layers and a softmax.
"""

import math

import numpy as np
import pytest
import tensorflow as tf

from limbeck.labels import codecs
from limbeck.labels.signals import AttentionSignal, QkvSignal, RelationsSignal
from limbeck.models.names import named_variables
from limbeck.teachers import Items, TeacherBatch, load_teacher
from limbeck.weights.hf import load_masked_lm
from train.formula import Outputs
from train.objective import bind
from train.projections import make_projection
from train.recipe import ProjectionPlan, StudentFacts, make_term
from train.starting.attention_facts import AttentionFacts
from train.step import batch_spec

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)

V, T = 40, 9
LENGTHS = (9, 4, 1, 9)  # the last row only fills
REAL = np.arange(T) < np.array(LENGTHS)[:, None]
ROWS = 3
WIDE, NARROW = {"hidden_size": 96, "heads": 4}, {"hidden_size": 8, "heads": 4}
SIGNALS = {
    "inputs": RelationsSignal(layer=3, codec="float32"),
    "qkv": QkvSignal(layer=3, codec="float32"),
    "below": QkvSignal(layer=1, codec="float32"),
    "maps": AttentionSignal(layer=3, codec="float32"),
}


def bert(folder, seed, *, hidden_size, heads, layers):
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=V,
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=16,
        max_position_embeddings=T,
        initializer_range=0.4,
        attn_implementation="eager",
    )
    model = transformers.BertForMaskedLM(config).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("bias"):
                value.normal_(0, 0.3)
    model.save_pretrained(folder)
    return model.double()


class Models:
    """The same two models here and there."""

    def __init__(self, root):
        self.torch_teacher = bert(root / "teacher", 1, **WIDE, layers=3)
        self.torch_student = bert(root / "student", 2, **NARROW, layers=2)
        self.teacher = load_teacher(str(root / "teacher"))
        self.student, _ = load_masked_lm(str(root / "student"))
        self.stored = stored_families(self.teacher)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return Models(tmp_path_factory.mktemp("models"))


class Stored:
    """A family as terms and `bind` look at it."""

    def __init__(self, name, fitted, facts):
        self.name, self.fitted, self.signal = name, fitted, fitted.signal
        self.attention, self.list_name = facts, "all"


FACTS = AttentionFacts(
    query_dim=96, key_dim=96, num_heads=4, num_kv_heads=4, causal=False, gives_scores=True
)
IDS = np.where(REAL, np.random.default_rng(0).integers(5, V, REAL.shape), 0).astype(np.int32)


def stored_families(teacher):
    """What an extraction keeps of the rows, at every real token: families, and their arrays."""
    names = ("ids", "segment_ids", "attention_mask")
    tokens = dict(zip(names, (IDS, np.zeros_like(IDS), REAL.astype(np.int32)), strict=True))
    index = np.flatnonzero(REAL & (np.arange(len(IDS)) < ROWS)[:, None]).astype(np.int32)
    items = {"all": Items(index=index, true_ids=np.zeros(len(index), np.int32))}
    raw = teacher.raw(TeacherBatch(**tokens, items=items), SIGNALS)
    families, arrays = {}, {}
    for name, signal in SIGNALS.items():
        fitted, _ = codecs.fit(signal, raw[name], side=teacher.side(signal))
        encoded = codecs.encode(fitted, raw[name], true_ids=None, draws=None)
        families[name] = Stored(name, fitted, FACTS)
        arrays[name] = codecs.decode(fitted, encoded)
    return families, arrays, index, tokens


def batch_of(arrays, index, tokens):
    """A micro-batch whose list is filled up with entries of NaN."""
    fill = 3
    valid = np.arange(len(index) + fill) < len(index)
    padded = {
        name: {
            field: np.concatenate([x, np.full((fill, *x.shape[1:]), np.nan, np.float32)])
            for field, x in fields.items()
        }
        for name, fields in arrays.items()
    }
    if "maps" in padded:  # stored over more slots than the batch has
        maps = padded["maps"]["probabilities"]
        padded["maps"]["probabilities"] = np.pad(maps, [(0, 0), (0, 0), (0, 2)])
    items = {"all": {"index": np.pad(index, (0, fill)).astype(np.int32), "valid": valid}}
    keys = {"row_keys": np.zeros((len(IDS), 4), np.int32), "places": np.zeros(len(IDS), np.int32)}
    batch = {**tokens, **keys, "items": items, "labels": {}, "teacher": padded}
    return tf.nest.map_structure(tf.constant, batch)


def our_gradients(models, settings, *, compiled=False):
    """S of the one term and its gradient by our names; compiled with all sizes left open."""
    families, arrays, index, tokens = models.stored
    term, facts = make_term(**settings), StudentFacts(architecture=models.student.architecture)
    own = [families[name] for name in term.signals]
    term.check(own, facts)
    objective = bind([term], families, facts)
    plans = term.projections(own, facts, name="0_" + term.loss)
    maps = {plan.name: make_projection(plan, seed=4) for plan in plans}
    batch = batch_of({name: arrays[name] for name in term.signals}, index, tokens)
    wants = objective.terms[0].wants
    variables = dict(named_variables(models.student))
    variables |= {f"{n}/{part}": v for n, m in maps.items() for part, v in m.variables.items()}

    def run(batch):
        with tf.GradientTape() as tape:
            found = models.student.encode(
                batch["ids"],
                batch["segment_ids"],
                batch["attention_mask"],
                dropout=None,
                hidden_layers=wants.hidden,
                attention_layers=wants.attentions,
                score_layers=wants.scores,
                qkv_layers=wants.qkv,
            )
            outputs = Outputs(
                hidden=found.hidden,
                attentions=found.attentions,
                scores=found.scores,
                qkv=found.qkv,
            )
            total = objective.sums({"fed": outputs}, batch, maps)[0]
        values = [v.value for v in variables.values()]
        return total, tape.gradient(total, values, unconnected_gradients="zero")

    signature = (batch_spec(batch),) if compiled else None
    total, gradients = (tf.function(run, input_signature=signature) if compiled else run)(batch)
    dense = [tf.convert_to_tensor(g).numpy() for g in gradients]
    return float(total), dict(zip(variables, dense, strict=True)), maps


class Layer:
    """Queries, keys, values and scores of one row in a layer of a PyTorch model, (T, W)."""

    def __init__(self, model, ids, layer):
        kept = {}
        attention = model.bert.encoder.layer[layer - 1].attention.self
        hooks = [
            getattr(attention, name).register_forward_hook(
                lambda _module, _inputs, output, name=name: kept.__setitem__(name, output[0])
            )
            for name in ("query", "key", "value")
        ]
        found = model.bert(
            torch.tensor(ids[None].astype(np.int64)),
            output_attentions=True,
            output_hidden_states=True,
        )
        for hook in hooks:
            hook.remove()
        self.q, self.k, self.v = kept["query"], kept["key"], kept["value"]
        self.attention = found.attentions[layer - 1][0]
        self.last = found.hidden_states[-1][0]
        self.heads = model.config.num_attention_heads

    def relation(self, kind, heads):
        left, right = (getattr(self, letter) for letter in kind)
        return torch.log_softmax(split_scores(left, right, heads), dim=-1)

    @property
    def scores(self):
        return split_scores(self.q, self.k, self.heads)


def split_scores(left, right, heads):
    parts = zip(left.chunk(heads, dim=-1), right.chunk(heads, dim=-1), strict=True)
    return torch.stack([x @ y.T / math.sqrt(x.shape[-1]) for x, y in parts])


def kl(log_p, log_q):
    """Sum over the queries of the mean over heads."""
    return (log_p.exp() * (log_p - log_q)).sum(-1).mean(0).sum()


def relations_of(kinds, heads):
    return lambda s, t: (
        sum(kl(t.relation(kind, heads), s.relation(kind, heads)) for kind in kinds) / len(kinds)
    )


def minilm(s, t):
    attention = kl(t.attention.log(), s.attention.log())
    return attention + kl(t.relation("vv", t.heads), s.relation("vv", s.heads))


def squares(s, t):
    return (s - t).square().sum()


def cross_entropy(s, t):
    return -(t.softmax(-1) * s.log_softmax(-1)).sum()


V1 = {"loss": "minilm_v1", "student_layer": 2}
ONE = {"student_layer": 2}
V2 = {"loss": "relations", **ONE}
CASES = {
    "v2": ({**V2, "signal": "inputs", "relation_heads": 4}, relations_of(("qq", "kk", "vv"), 4)),
    "v2 of other heads": (
        {**V2, "signal": "qkv", "relation_heads": 2, "relations": ("vv", "qk")},
        relations_of(("vv", "qk"), 2),
    ),
    "v2 of as many heads as channels": (
        {**V2, "signal": "qkv", "relation_heads": 8},
        relations_of(("qq", "kk", "vv"), 8),
    ),
    "attention alone": (
        {**V2, "signal": "inputs", "relations": ("qk",)},
        lambda s, t: kl(t.attention.log(), s.attention.log()),
    ),
    "v1": ({**V1, "signal": "inputs"}, minilm),
    "v1 of qkv": ({**V1, "signal": "qkv"}, minilm),
    "v1 of maps": ({**V1, "signal": "qkv", "attention_signal": "maps"}, minilm),
    "mse": (
        {"loss": "attention_mse", **ONE, "signal": "inputs"},
        lambda s, t: squares(s.scores, t.scores) / 4,
    ),
    "mse of probabilities": (
        {"loss": "attention_mse", **ONE, "signal": "qkv", "on": "probabilities"},
        lambda s, t: squares(s.attention, t.attention) / 4,
    ),
    "mse of stored probabilities": (
        {"loss": "attention_mse", **ONE, "signal": "maps", "on": "probabilities"},
        lambda s, t: squares(s.attention, t.attention) / 4,
    ),
    "mse of sums": (
        {"loss": "attention_mse_sum", **ONE, "signal": "inputs"},
        lambda s, t: squares(s.scores.sum(0), t.scores.sum(0)),
    ),
    "tinybert": (
        {"loss": "tinybert_attention", **ONE, "signal": "inputs"},
        lambda s, t: (s.scores - t.scores).square().mean(),
    ),
    "ce": (
        {"loss": "attention_ce", **ONE, "signal": "inputs"},
        lambda s, t: cross_entropy(s.scores, t.scores) / 4,
    ),
    "ce of maps": (
        {"loss": "attention_ce", **ONE, "signal": "maps"},
        lambda s, t: cross_entropy(s.scores, t.scores) / 4,
    ),
    "ce of means": (
        {"loss": "attention_ce_mean", **ONE, "signal": "qkv"},
        lambda s, t: cross_entropy(s.scores.mean(0), t.scores.mean(0)),
    ),
}

COMPILED = ("v1 of maps", "tinybert")


def rows_of(models, teacher_layer, student_layer):
    for ids, length in zip(IDS[:ROWS], LENGTHS[:ROWS], strict=True):
        with torch.no_grad():
            theirs = Layer(models.torch_teacher, ids[:length], teacher_layer)
        yield Layer(models.torch_student, ids[:length], student_layer), theirs


# Our name, transformers' name, whether its matrix is turned.
NAMES = [
    ("encoder/embeddings/token", "bert.embeddings.word_embeddings.weight", False),
    ("encoder/embeddings/norm/gamma", "bert.embeddings.LayerNorm.weight", False),
] + [
    (f"encoder/layer_{i}/{ours}", f"bert.encoder.layer.{i}.{theirs}", ours.endswith("kernel"))
    for i in (0, 1)
    for ours, theirs in [
        ("attention/query/kernel", "attention.self.query.weight"),
        ("attention/query/bias", "attention.self.query.bias"),
        ("attention/key/kernel", "attention.self.key.weight"),
        ("attention/value/kernel", "attention.self.value.weight"),
        ("attention/value/bias", "attention.self.value.bias"),
        ("attention/output/kernel", "attention.output.dense.weight"),
    ]
]


def assert_same_gradients(found, model):
    wanted = dict(model.named_parameters())
    gradients = {n: p.grad for n, p in wanted.items() if p.grad is not None}
    largest = max(float(g.abs().max()) for g in gradients.values())
    for ours, theirs, turned in NAMES:
        grad = gradients.get(theirs, torch.zeros_like(wanted[theirs])).numpy()
        np.testing.assert_allclose(
            found[ours], grad.T if turned else grad, atol=2e-5 * largest, err_msg=ours
        )


@pytest.mark.parametrize("case", CASES)
def test_term_and_gradients_are_those_of_pytorch(models, case):
    settings, slow = CASES[case]
    total, gradients, _ = our_gradients(models, settings, compiled=case in COMPILED)
    models.torch_student.zero_grad()
    expected = sum(slow(s, t) for s, t in rows_of(models, 3, 2))
    expected.backward()
    np.testing.assert_allclose(total, expected.item(), rtol=1e-5)
    assert_same_gradients(gradients, models.torch_student)


def test_several_pairs_are_their_mean(models):
    settings = {"signals": ("inputs", "below"), "student_layers": (2, 1)}
    total, gradients, _ = our_gradients(models, {"loss": "tinybert_attention", **settings})
    models.torch_student.zero_grad()
    pairs = [pair for layers in ((3, 2), (1, 1)) for pair in rows_of(models, *layers)]
    expected = sum((s.scores - t.scores).square().mean() for s, t in pairs) / 2
    expected.backward()
    np.testing.assert_allclose(total, expected.item(), rtol=1e-5)
    assert_same_gradients(gradients, models.torch_student)


def test_auxiliary_block_relates_maps_of_the_last_states(models):
    """12 wide, from 8: neither the student's width nor the teacher's, nor any number of heads."""
    settings = {"student": "auxiliary", "auxiliary_dim": 12, "relation_heads": 6}
    total, gradients, maps = our_gradients(models, {**V2, "signal": "inputs", **settings})
    assert list(maps) == [f"0_relations/{part}" for part in ("query", "key", "value")]
    weights = {
        (name[-1], part): torch.tensor(v.numpy(), dtype=torch.float64, requires_grad=True)
        for name, m in zip(("q", "k", "v"), maps.values(), strict=True)
        for part, v in m.variables.items()
    }
    models.torch_student.zero_grad()
    expected = 0.0
    for s, t in rows_of(models, 3, 2):
        for x in ("q", "k", "v"):
            y = s.last @ weights[x, "kernel"] + weights[x, "bias"]
            log_q = split_scores(y, y, 6).log_softmax(-1)
            expected = expected + kl(t.relation(x + x, 6), log_q) / 3
    expected.backward()
    np.testing.assert_allclose(total, expected.item(), rtol=1e-5)
    assert_same_gradients(gradients, models.torch_student)
    largest = max(float(w.grad.abs().max()) for w in weights.values())
    for x, name in zip(("q", "k", "v"), maps, strict=True):
        for part in ("kernel", "bias"):
            wanted = weights[x, part].grad.numpy()
            np.testing.assert_allclose(gradients[f"{name}/{part}"], wanted, atol=2e-5 * largest)


def test_plan_of_the_auxiliary_block_is_of_the_run():
    term = make_term(**V2, signal="x", relation_heads=2, student="auxiliary", projection_name="aux")
    architecture = Stored.__new__(Stored)
    architecture.hidden_dim = 8
    plans = term.projections([], StudentFacts(architecture=architecture), name="0_relations")
    assert plans[1] == ProjectionPlan(name="aux/key", kind="linear", source_dim=8, target_dim=8)
