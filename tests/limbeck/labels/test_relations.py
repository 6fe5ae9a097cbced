import math

import numpy as np
import pytest

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels import RelationsSignal, Side, relations
from limbeck.labels.relations import Heads, Projections

B, T, D = 2, 5, 12
PLAIN = {"num_heads": 3, "num_kv_heads": 3, "head_dim": 4, "mask": "padding", "rotary": None}


def side(seed=0, facts=PLAIN, biases=True):
    rng = np.random.default_rng(seed)
    widths = {"query": facts["num_heads"] * facts["head_dim"]}
    widths["key"] = widths["value"] = facts["num_kv_heads"] * facts["head_dim"]
    tensors = {}
    for name, width in widths.items():
        tensors[f"{name}/kernel"] = rng.normal(size=(D, width)).astype(np.float32)
        if biases:
            tensors[f"{name}/bias"] = rng.normal(size=width).astype(np.float32)
    return Side(tensors=tensors, facts=facts)


def inputs(seed=1):
    return np.random.default_rng(seed).normal(size=(B, T, D)).astype(np.float32)


MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


def slow_relation(left, right, num_heads, mask, causal=False):
    """Row by row, from the definition, in float64."""
    width = left.shape[-1] // num_heads
    found = np.zeros((len(left), num_heads, left.shape[1], left.shape[1]))
    for b, a, i in np.ndindex(len(left), num_heads, left.shape[1]):
        part = slice(a * width, (a + 1) * width)
        seen = [j for j in range(left.shape[1]) if mask[b, j] and not (causal and j > i)]
        if not seen:
            continue
        scores = [
            float(left[b, i, part].astype(float) @ right[b, j, part]) / math.sqrt(width)
            for j in seen
        ]
        weights = np.exp(np.array(scores) - max(scores))
        found[b, a, i, seen] = weights / weights.sum()
    return found


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("num_heads", [1, 2, 3, 6, 12])  # whatever the 3 attention heads are
@pytest.mark.parametrize("kind", relations.RELATIONS)
def test_relation_matches_the_definition(kind, num_heads, causal):
    fitted, _ = relations.fit(
        RelationsSignal(layer=1), {"states": inputs().reshape(-1, D)}, side=side()
    )
    projections = relations.project(inputs(), fitted.tensors)
    left, right = relations.sides(projections, kind, relations.heads_of(fitted))
    found = relations.relation(left, right, num_heads=num_heads, attention_mask=MASK, causal=causal)
    expected = slow_relation(left, right, num_heads, MASK, causal)
    # float32 scores of about 10, exponentiated: 10 half ulps of a score.
    np.testing.assert_allclose(found, expected, atol=5e-6)
    np.testing.assert_allclose(found.sum(-1), 1.0, atol=1e-6)
    assert (found[1, :, :, 3:] == 0).all()  # padding is never seen


def test_projections_are_products_with_a_bias_where_there_is_one():
    for with_bias in (True, False):
        tensors = side(biases=with_bias).tensors
        found = relations.project(inputs(), tensors)
        expected = inputs() @ tensors["key/kernel"]
        expected = expected + tensors["key/bias"] if with_bias else expected
        np.testing.assert_allclose(found.keys, expected, rtol=1e-6)


def test_known_attention():
    """One head of width 4: scores 0 and 4 / sqrt(4) = 2."""
    ones = np.ones((1, 2, 4), np.float32)
    keys = ones * np.array([0.0, 1.0], np.float32)[None, :, None]
    heads = Heads(num_heads=1, num_kv_heads=1, head_dim=4, causal=False, theta=None)
    found = relations.attention_maps(
        Projections(queries=ones, keys=keys, values=keys), heads, attention_mask=np.ones((1, 2))
    )
    high = math.exp(2) / (1 + math.exp(2))
    np.testing.assert_allclose(found, [[[[1 - high, high]] * 2]], rtol=1e-6)


def test_shared_keys_are_repeated_for_query_key_relations_only():
    facts = {**PLAIN, "num_heads": 6, "num_kv_heads": 3, "head_dim": 2, "mask": "causal"}
    given = side(facts=facts)
    fitted, _ = relations.fit(
        RelationsSignal(layer=1), {"states": inputs().reshape(-1, D)}, side=given
    )
    heads = relations.heads_of(fitted)
    assert heads == Heads(num_heads=6, num_kv_heads=3, head_dim=2, causal=True, theta=None)
    projections = relations.project(inputs(), fitted.tensors)
    assert relations.sides(projections, "kk", heads)[0].shape == (B, T, 6)
    left, right = relations.sides(projections, "qk", heads)
    assert left.shape == right.shape == (B, T, 12)
    # Heads 0 and 1 of the queries share head 0 of the keys.
    np.testing.assert_array_equal(right[..., 0:2], projections.keys[..., 0:2])
    np.testing.assert_array_equal(right[..., 2:4], projections.keys[..., 0:2])
    maps = relations.attention_maps(projections, heads, attention_mask=MASK)
    np.testing.assert_allclose(maps, slow_relation(left, right, 6, MASK, causal=True), atol=5e-6)


def test_rotated_scores_depend_on_distance_only():
    """Equal queries and equal keys everywhere: a score is a function of i - j."""
    facts = {**PLAIN, "mask": "causal", "rotary": {"theta": 100.0}}
    fitted, _ = relations.fit(
        RelationsSignal(layer=1), {"states": inputs().reshape(-1, D)}, side=side(facts=facts)
    )
    heads = relations.heads_of(fitted)
    rng = np.random.default_rng(4)
    same = {n: np.repeat(rng.normal(size=(1, 1, 12)), 6, axis=1).astype(np.float32) for n in "qk"}
    projections = Projections(queries=same["q"], keys=same["k"], values=same["k"])
    maps = relations.attention_maps(projections, heads, attention_mask=np.ones((1, 6)))
    ratios = (
        np.log(maps[0, :, 1:, 1] / maps[0, :, 1:, 0])[:, 0],
        np.log(maps[0, :, 5, 5] / maps[0, :, 5, 4]),
    )
    np.testing.assert_allclose(ratios[0], ratios[1], atol=1e-4)


def test_relations_of_int8_states_are_close():
    rng = np.random.default_rng(5)
    values = rng.normal(scale=0.5, size=(8, 64, D)).astype(np.float32)
    given = side()
    fitted, _ = relations.fit(
        RelationsSignal(layer=1), {"states": values.reshape(-1, D)}, side=given
    )
    arrays = relations.encode(fitted, {"states": values.reshape(-1, D)})
    kept = relations.decode(fitted, arrays)["states"].reshape(values.shape)
    mask = np.ones((8, 64))
    exact, found = (
        relations.relation(p.queries, p.keys, num_heads=3, attention_mask=mask).astype(np.float64)
        for p in (relations.project(x, fitted.tensors) for x in (values, kept))
    )
    kl = (exact * np.log(exact / found)).sum(-1)
    assert 0 < kl.mean() < 1e-3


def test_facts_and_tensors_are_kept():
    given = side()
    fitted, lines = relations.fit(
        RelationsSignal(layer=1), {"states": inputs().reshape(-1, D)}, side=given
    )
    assert {name: fitted.chosen[name] for name in PLAIN} == PLAIN and lines
    assert set(fitted.tensors) == set(given.tensors)


def test_what_cannot_be_split_or_projected_is_refused():
    with pytest.raises(UsageError, match="width of 12 cannot be split into 5 relation heads"):
        relations.relation(inputs(), inputs(), num_heads=5, attention_mask=MASK)
    given = side()
    tensors = {name: v for name, v in given.tensors.items() if not name.startswith("value")}
    with pytest.raises(LimbeckError, match="layer 3 of the teacher has no value projection"):
        relations.fit(RelationsSignal(layer=3), {}, side=Side(tensors=tensors, facts=PLAIN))
