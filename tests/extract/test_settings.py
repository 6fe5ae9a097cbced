import pytest

from extract.settings import ExtractSettings, Recipe
from limbeck.config import yaml_file
from limbeck.config.errors import UsageError
from limbeck.labels.signals import (
    AttentionSignal,
    FinalSignal,
    HiddenSignal,
    QkvSignal,
    RelationsSignal,
    SparseSignal,
    TaskSignal,
)

FAMILIES = {"a": SparseSignal(k=1)}


def test_empty_out_is_a_usage_error():
    with pytest.raises(UsageError, match="--out is empty; name a directory"):
        ExtractSettings(families=FAMILIES, examples="e", teacher="t", out="")


def test_recipe_reads_every_kind_of_signal_and_setting():
    recipe = yaml_file.loads(
        """
families:
  sparse: {kind: sparse, k: 12, temperatures: [1, 2]}
  "hidden-3": {kind: hidden, layer: 3, positions: first, codec: int8}
  final: {kind: final}
  relations: {kind: relations, layer: 2}
  qkv: {kind: qkv, layer: 1, records: 0.1}
  attention: {kind: attention, layer: 1}
  task: {kind: task, positions: all}
seed: 7
length_multiple: 32
window_rows: 64
precision: mixed_bfloat16
jit: true
""",
        Recipe,
    )
    assert recipe.families == {
        "sparse": SparseSignal(k=12, temperatures=(1.0, 2.0)),
        "hidden-3": HiddenSignal(layer=3, positions="first", codec="int8"),
        "final": FinalSignal(),
        "relations": RelationsSignal(layer=2),
        "qkv": QkvSignal(layer=1, records=0.1),
        "attention": AttentionSignal(layer=1),
        "task": TaskSignal(positions="all"),
    }
    assert (recipe.seed, recipe.batch_tokens, recipe.length_multiple) == (7, 4096, 32)
    assert (recipe.precision, recipe.jit, recipe.largest_fraction) == ("mixed_bfloat16", True, 1.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"families": {}}, "families is empty"),
        ({"families": {"a/b": SparseSignal(k=1)}}, "family name 'a/b'"),  # would leave OUT
        ({"families": {"..": SparseSignal(k=1)}}, "family name '..'"),
        ({"families": {"metrics": SparseSignal(k=1)}}, "'metrics' is taken"),
        ({"length_multiple": 0}, "length_multiple must be at least 1, got 0"),
        ({"window_rows": 0}, "window_rows must be at least 1, got 0"),
        ({"threads": -1}, "threads must be at least 0, got -1"),
    ],
)
def test_recipe_out_of_range_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**{"families": FAMILIES, **values})


def test_only_what_decides_bits_stands_in_the_manifest():
    paths = {"families": FAMILIES, "examples": "e", "teacher": "t", "out": "o"}
    plain = ExtractSettings(**paths, threads=3, recheck_batches=9, worker="0/2")
    shapes = {"batch_tokens": 4096, "length_multiple": 16, "window_rows": 2048}
    assert plain.batch_settings("keras") == shapes
    other = ExtractSettings(**paths, precision="mixed_float16", jit=True)
    more = {"backend": "onnx", "precision": "mixed_float16", "jit": True}
    assert other.batch_settings("onnx") == {**shapes, **more}
