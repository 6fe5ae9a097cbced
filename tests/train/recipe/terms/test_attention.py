"""What terms on attention and relations accept and refuse, before any model is there."""

import dataclasses
import json

import pytest

from limbeck.architectures import DecoderArchitecture, EncoderArchitecture
from limbeck.config import UsageError, yaml_file
from limbeck.labels.signals import AttentionSignal, HiddenSignal, QkvSignal, RelationsSignal
from tests.decoders import GPT2
from train.recipe import StudentFacts, Wants, make_term
from train.recipe.term import Term
from train.starting.attention_facts import AttentionFacts

TEACHER = AttentionFacts(
    query_dim=24, key_dim=24, num_heads=4, num_kv_heads=4, causal=False, gives_scores=True
)
STUDENT = EncoderArchitecture(
    vocab_size=9, num_layers=2, hidden_dim=16, num_heads=4, intermediate_dim=8
)
GPT = DecoderArchitecture(
    **GPT2,
    vocab_size=9,
    num_layers=2,
    hidden_dim=16,
    num_heads=4,
    num_kv_heads=4,
    intermediate_dim=8,
    max_positions=8,
)
SIGNALS = {
    "inputs": RelationsSignal(layer=1),
    "qkv": QkvSignal(layer=1),
    "maps": AttentionSignal(layer=1),
    "states": HiddenSignal(layer=1),
}


class Family:
    """All that a check looks at."""

    def __init__(self, name, facts=TEACHER, list_name="all"):
        self.name, self.signal = name, SIGNALS[name.split("_")[0]]
        if isinstance(self.signal, AttentionSignal):
            facts = AttentionFacts(
                num_heads=facts.num_heads, num_kv_heads=facts.num_heads, causal=facts.causal
            )
        self.attention, self.list_name = facts, list_name


def check(settings, *, facts=TEACHER, architecture=STUDENT, lists=None):
    term = make_term(**settings)
    families = [Family(name, facts, (lists or {}).get(name, "all")) for name in term.signals]
    term.check(families, StudentFacts(architecture=architecture))
    return term, families


MSE = {"loss": "attention_mse", "student_layer": 2}
CE = {"loss": "attention_ce", "student_layer": 2}
V1 = {"loss": "minilm_v1", "student_layer": 2}
V2 = {"loss": "relations", "student_layer": 2, "relation_heads": 4}
AUXILIARY = {**V2, "student": "auxiliary"}


@pytest.mark.parametrize(
    ("settings", "wants", "count"),
    [
        ({**MSE, "signal": "inputs"}, Wants(scores=(2,)), "pairs"),
        ({**MSE, "signal": "maps", "on": "probabilities"}, Wants(attentions=(2,)), "pairs"),
        ({**CE, "signal": "maps"}, Wants(scores=(2,)), "entries"),
        (
            {
                "loss": "tinybert_attention",
                "signals": ("qkv", "inputs"),
                "student_layers": (1, 2),
            },
            Wants(scores=(1, 2)),
            "rows",
        ),
        ({**V1, "signal": "inputs"}, Wants(scores=(2,), qkv=(2,)), "entries"),
        (
            {**V1, "signal": "qkv", "attention_signal": "maps"},
            Wants(scores=(2,), qkv=(2,)),
            "entries",
        ),
        ({**V2, "signal": "qkv"}, Wants(qkv=(2,)), "entries"),
        ({**AUXILIARY, "signal": "inputs", "auxiliary_dim": 8}, Wants(hidden=(2,)), "entries"),
    ],
)
def test_term_says_what_it_looks_at_and_counts(settings, wants, count):
    term, families = check(settings)
    assert term.wants(families) == wants and term.counted == count
    assert term.list_name(families) == "all" and term.reach == "additive"


@pytest.mark.parametrize(
    ("settings", "facts", "message"),
    [
        ({**MSE, "signal": "states"}, {}, "^signal: loss attention_mse cannot learn .* a hidden"),
        ({**MSE, "signal": "maps"}, {}, "^signal: .*needs scores before softmax.*on: probabil"),
        ({**MSE, "signal": "inputs", "student_layer": 3}, {}, "^student_layer is 3, .* 1 to 2"),
        (
            {**MSE, "signal": "inputs"},
            {"num_heads": 12},
            "^signal: .* has 12 attention heads and the student 4; take loss: attention_mse_sum",
        ),
        ({**CE, "signal": "qkv"}, {"num_heads": 12}, "take loss: attention_ce_mean"),
        ({**CE, "loss": "attention_ce_mean", "signal": "maps"}, {}, "needs scores .* a qkv family"),
        ({**CE, "signal": "qkv"}, {"gives_scores": False}, "^signal: .* how positions enter"),
        ({**CE, "signal": "maps"}, {"causal": None}, "^signal: 'maps' does not say whether"),
        ({**CE, "signal": "maps"}, {"causal": True}, "see only what is before them, .* all others"),
        ({**V1, "signal": "maps"}, {}, "^signal: loss minilm_v1 cannot learn .* relations, qkv"),
        ({**V1, "signal": "qkv"}, {"gives_scores": False}, "or name an attention family as atten"),
        ({**V1, "signal": "qkv"}, {"num_heads": 0}, "does not say how many attention heads"),
        (
            {**V1, "signal": "qkv", "attention_signal": "maps"},
            {"num_heads": 2, "gives_scores": False},
            "^attention_signal: .* has 2 attention heads",
        ),
        ({**V1, "signal": "qkv"}, {"num_heads": 2}, "take loss: relations"),
        ({**V1, "signal": "qkv"}, {"key_dim": 12}, "has 2 heads of values and the student 4"),
        (
            {**V1, "signal": "qkv", "attention_signal": "inputs"},
            {},
            "^attention_signal: .* needs one of attention",
        ),
        ({**V2, "signal": "maps"}, {}, "^signal: loss relations cannot learn from 'maps'"),
        (
            {**V2, "signal": "inputs", "relation_heads": 16},
            {},
            "^relation_heads is 16, which does not divide 24, the width of the queries of the tea",
        ),
        (
            {**V2, "signal": "inputs", "relation_heads": 3},
            {},
            "^relation_heads is 3, which does not divide 16, .* of the student",
        ),
        (
            {**V2, "signal": "qkv", "relations": ("kk",), "relation_heads": 8},
            {"key_dim": 12},
            "does not divide 12, the width of the keys of the teacher",
        ),
        (
            {**V2, "signal": "qkv", "relations": ("qk",)},
            {"key_dim": 12, "num_heads": 0},
            "^relations: the teacher .* shares keys",
        ),
        ({**V2, "signal": "qkv"}, {"causal": True}, "see only what is before them"),
        (
            {"loss": "relations", "student_layer": 1, "relations": ("qk",), "signal": "qkv"},
            {"num_heads": 6},
            "has 6 attention heads and the student 4; set relation_heads",
        ),
        ({**AUXILIARY, "signal": "qkv", "student_layer": 9}, {}, "^student_layer is 9"),
        (
            {**AUXILIARY, "signal": "qkv", "auxiliary_dim": 10},
            {},
            "does not divide 10, .* of the student",
        ),
    ],
)
def test_what_cannot_work_is_refused_by_the_name_of_the_setting(settings, facts, message):
    with pytest.raises(UsageError, match=message):
        check(settings, facts=dataclasses.replace(TEACHER, **facts))


def test_several_pairs_name_the_one_that_is_wrong():
    pairs = {"loss": "attention_mse", "signals": ("qkv", "inputs"), "student_layers": (1, 3)}
    with pytest.raises(UsageError, match=r"^student_layers\[1\] is 3"):
        check(pairs)
    pairs["student_layers"] = (1, 2)
    with pytest.raises(UsageError, match=r"^signals\[1\]: 'inputs' labels some rows only"):
        check(pairs, lists={"inputs": "all of inputs"})
    partial = {"inputs": "all of inputs"}
    term, families = check({**MSE, "signal": "inputs"}, lists=partial)
    assert term.list_name(families) == "all of inputs"
    with pytest.raises(UsageError, match="must both label every row"):
        check({**V1, "signal": "inputs", "attention_signal": "maps"}, lists=partial)


def test_causal_models_learn_from_causal_ones():
    causal = dataclasses.replace(TEACHER, causal=True)
    for settings in (MSE, CE, V1, V2):
        check({**settings, "signal": "inputs"}, facts=causal, architecture=GPT)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({**MSE}, "signal is missing, or signals"),
        ({"loss": "attention_ce", "signal": "a"}, "student_layer is missing"),
        ({**MSE, "signal": "a", "signals": ("b",)}, "signals has no effect beside signal"),
        ({**MSE, "signals": ("a", "b")}, "names 2 families and student_layers 1"),
        ({**MSE, "signal": "a", "student_layer": 0}, "layers that attend are from 1"),
        ({**CE, "signal": "a", "on": "scores"}, "on has no effect"),
        ({**V1, "signal": "a", "student_layer": 0}, "student_layer is 0"),
        ({**V2, "signal": "a", "relations": ()}, "at least one"),
        ({**V2, "signal": "a", "relations": ("qq", "qq")}, "name each once"),
        ({**V2, "signal": "a", "relation_heads": None}, "relation_heads is missing"),
        ({**V2, "signal": "a", "relation_heads": 0}, "relation_heads is 0"),
        ({**V2, "signal": "a", "auxiliary_dim": 8}, "auxiliary_dim has no effect"),
        ({**V2, "signal": "a", "projection_name": "x"}, "projection_name has no effect"),
        ({**AUXILIARY, "signal": "a", "auxiliary_dim": 0}, "auxiliary_dim is 0"),
        ({**V2, "signal": "a", "weight": 0.0}, "weight is 0"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make_term(**settings)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
    terms: tuple[Term, ...]


@pytest.mark.parametrize(
    "settings",
    [
        {**MSE, "signal": "a", "on": "probabilities", "weight": 0.5},
        {"loss": "tinybert_attention", "signals": ["a", "b"], "student_layers": [1, 2]},
        {**V1, "signal": "a", "attention_signal": "b"},
        {**AUXILIARY, "signal": "a", "relations": ["vv", "qk"], "auxiliary_dim": 12},
    ],
)
def test_recipe_written_out_reads_back_as_the_same_term(settings):
    term = yaml_file.from_plain(Objective, {"terms": [settings]}, "recipe").terms[0]
    lists = {name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()}
    assert term == make_term(**lists)
    written = json.loads(json.dumps(dataclasses.asdict(term)))
    assert yaml_file.from_plain(Objective, {"terms": [written]}, "recipe").terms[0] == term


def test_relation_that_is_none_is_refused_with_the_choices():
    wrong = {**V2, "signal": "a", "relations": ["qv"]}
    with pytest.raises(UsageError, match=r"relations\[0\] is 'qv'; expected one of 'qq', 'kk'"):
        yaml_file.from_plain(Objective, {"terms": [wrong]}, "recipe")
