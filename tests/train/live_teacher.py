"""A teacher of the toy examples that answers live, and recipes on it or on what is stored of it."""

from pathlib import Path

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.config import yaml_file
from limbeck.labels.signals import (
    AttentionSignal,
    FinalSignal,
    HiddenSignal,
    QkvSignal,
    RelationsSignal,
    SparseSignal,
    to_dict,
)
from limbeck.ranks import World
from limbeck.tokens import WordPiece
from train.inputs import open_inputs
from train.recipe import Recipe

V, S, DIM, LAYERS = 50, 16, 12, 2  # of the toy examples, and of their teacher
SEED = 3  # of the toy recipe and of the extraction: what is drawn is then the same

SIGNALS = {
    "full": FinalSignal(codec="float32"),
    "final": FinalSignal(codec="auto"),
    "top": SparseSignal(k=6, temperatures=(1.0, 2.0)),
    "head": SparseSignal(threshold=0.05, temperatures=(2.0,)),
    "sample": SparseSignal(threshold=0.1, sample=True, form="lean", temperatures=(1.0,)),
    "states": HiddenSignal(layer=2, codec="float32"),
    "first": HiddenSignal(layer=1, positions="first", codec="int8"),
    "inputs": RelationsSignal(layer=2, codec="float32"),
    "qkv": QkvSignal(layer=1, codec="float32"),
    "maps": AttentionSignal(layer=1, codec="float32"),
}
HIDDEN = {"student_layer": 1, "projection": "linear"}
TERMS = [
    {"loss": "kl", "signal": "full", "temperature": 3.0},
    {"loss": "soft_ce", "signal": "final"},
    {"loss": "kl", "signal": "top", "temperature": 2.0},
    {"loss": "kl", "signal": "head", "temperature": 2.0},
    {"loss": "soft_ce", "signal": "sample"},
    {"loss": "mlm"},
    {"loss": "hidden_mse", "signal": "states", **HIDDEN},
    {"loss": "hidden_cosine", "signal": "first", **HIDDEN},
    {"loss": "relations", "signal": "inputs", "student_layer": 1, "relation_heads": 4},
    {"loss": "minilm_v1", "signal": "qkv", "attention_signal": "maps", "student_layer": 1},
    {"loss": "tinybert_attention", "signal": "qkv", "student_layer": 1},
]


def write_teacher(folder: Path, vocabulary: Path, **shape) -> str:
    from limbeck.models.masked_lm import build_masked_lm
    from limbeck.weights.hf import export_hf

    sizes = {"vocab_size": V, "num_layers": LAYERS, "hidden_dim": DIM, "max_positions": S, **shape}
    architecture = EncoderArchitecture(
        num_heads=2, intermediate_dim=24, initializer_range=0.4, **sizes
    )
    export_hf(build_masked_lm(architecture, seed=5), str(folder), tokenizer=WordPiece(vocabulary))
    return str(folder)


def recipe_of(toy, *, teacher=None, objective=TERMS, settings=None, **data) -> Recipe:
    """A recipe on the stored families, or on a live teacher."""
    fields = ("signal", "attention_signal")
    used = {term[name] for term in objective for name in fields if name in term}
    data.setdefault("examples", str(toy.root / "examples"))
    if teacher is None:
        data["labels"] = {name: str(toy.root / "labels" / name) for name in used}
    else:
        signals = {name: to_dict(SIGNALS[name]) for name in SIGNALS if name in used}
        data["teacher"] = {"signals": signals, "path": teacher, **(settings or {})}
    return yaml_file.from_plain(
        Recipe, toy.recipe(data=data, objective=objective, seed=SEED), "recipe"
    )


def source_of(recipe):
    """Of one rank."""
    from train.objective import bind

    inputs = open_inputs(recipe)
    return inputs.source(World(), bind(recipe.objective, inputs.families, inputs.student).lists)
