import numpy as np
import pytest

from prep.seeds import below, generator, hashes_below, keyed_hash, keyed_hashes

KEY = bytes(range(16))
GOLDEN_HASH = 4962990151956367191
GOLDEN_DRAWS = [0.9746507736826139, 0.7726201831357709, 0.2579910837384848]


def test_generator_of_the_same_record_draws_the_same_numbers():
    first = generator(seed=7, key=KEY, stage="masking", duplicate=2).random(5)
    second = generator(seed=7, key=KEY, stage="masking", duplicate=2).random(5)
    assert first.tolist() == second.tolist()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 8},
        {"key": KEY[::-1]},
        {"stage": "pairs"},
        {"duplicate": 3},
        {"seed": -7},  # a sign is a difference
    ],
)
def test_generator_depends_on_every_argument(change):
    base = {"seed": 7, "key": KEY, "stage": "masking", "duplicate": 2}
    assert generator(**base).random() != generator(**{**base, **change}).random()
    renamed = {"duplicate": "counter"}
    base_hash = {renamed.get(k, k): v for k, v in base.items()}
    changed = {renamed.get(k, k): v for k, v in change.items()}
    assert keyed_hash(**base_hash) != keyed_hash(**{**base_hash, **changed})


def test_golden_values_freeze_the_derivation():
    # Changing any of these changes every prepared dataset: raise the recipe's version instead.
    assert keyed_hash(seed=12345, key=KEY, stage="split") == GOLDEN_HASH
    drawn = generator(seed=12345, key=KEY, stage="pairs", duplicate=1).random(3)
    assert drawn.tolist() == GOLDEN_DRAWS


def test_keyed_hash_is_uniform_over_keys():
    values = np.array(
        [keyed_hash(seed=1, key=n.to_bytes(16, "big"), stage="split") for n in range(20_000)],
        dtype=np.float64,
    )
    counts, _ = np.histogram(values / 2.0**64, bins=20, range=(0, 1))
    chi_square = float(((counts - 1000) ** 2 / 1000).sum())
    assert chi_square < 52  # 19 degrees of freedom, p = 0.0001


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
def test_below_draws_every_value_below_the_limit(limit):
    rng = generator(seed=1, key=KEY, stage="test")
    drawn = {below(rng, limit) for _ in range(30 * min(limit, 10))}
    assert min(drawn) >= 0 and max(drawn) < limit
    if limit <= 3:
        assert drawn == set(range(limit))


@pytest.mark.parametrize("size", [10, 16])
def test_many_hashes_are_those_of_each(size):
    keys = np.frombuffer(bytes(range(250)) * size, np.uint8).reshape(-1, size)
    for seed, counter in ((7, 0), (-7, 3)):
        expected = [
            keyed_hash(seed=seed, key=key.tobytes(), stage="split", counter=counter) for key in keys
        ]
        found = keyed_hashes(seed=seed, keys=keys, stage="split", counter=counter)
        assert found.dtype == np.uint64 and found.tolist() == expected
    assert len(keyed_hashes(seed=1, keys=keys[:0], stage="split")) == 0


@pytest.mark.parametrize("fraction", [0.0, 1e-20, 0.01, 0.3, 1 / 64, 0.9999999999999999, 1.0])
def test_hashes_below_compares_whole_numbers_with_the_exact_fraction(fraction):
    edge = int(fraction * 2.0**64)
    values = {0, 1, edge - 1, edge, edge + 1, (1 << 64) - 1} & set(range(0, 4)) | {
        value for value in (edge - 1, edge, edge + 1, (1 << 64) - 1) if 0 <= value < 1 << 64
    }
    hashes = np.array(sorted(values), np.uint64)
    expected = [value < fraction * 2.0**64 for value in sorted(values)]
    assert hashes_below(hashes, fraction).tolist() == expected
