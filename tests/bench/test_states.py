import numpy as np

from bench._states import States, Table, tables
from limbeck.labels import Side

WIDTH, VOCAB = 16, 40


def projections():
    rng = np.random.default_rng(0)
    return Side(
        tensors={
            f"{name}/{part}": rng.normal(scale=0.3, size=shape).astype(np.float32)
            for name in ("query", "key", "value")
            for part, shape in (("kernel", (WIDTH, WIDTH)), ("bias", (WIDTH,)))
        },
        facts={
            "num_heads": 4,
            "num_kv_heads": 4,
            "head_dim": 4,
            "mask": "padding",
            "rotary": None,
        },
    )


def some_states(seed):
    rng = np.random.default_rng(seed)
    mask = (np.arange(8) < rng.integers(3, 9, 6)[:, None]).astype(np.uint8)
    inputs = rng.normal(size=(6, 8, WIDTH)).astype(np.float32) * mask[..., None]
    decoder = rng.normal(scale=0.05, size=(VOCAB, WIDTH)).astype(np.float32)
    return States(
        hidden={2: rng.normal(size=(100, WIDTH)).astype(np.float32)},
        final=rng.normal(size=(50, WIDTH)).astype(np.float32),
        inputs=inputs,
        mask=mask,
        decoder=Side(
            tensors={"decoder/kernel": decoder, "decoder/bias": np.zeros(VOCAB, np.float32)}
        ),
        projections=projections(),
    )


def test_tables_of_random_states_have_every_codec():
    hidden, basis, final, relations = tables(some_states(0), some_states(1), basis_layer=2)
    names = ["float16", "bfloat16", "int8", "int8+2", "int8+8"]
    assert [row[1] for row in hidden.rows] == names
    assert [row[2] for row in hidden.rows] == ["32", "32", "20", "24", "36"]  # bytes of width 16
    assert [row[0] for row in basis.rows] == ["2", "4", "8", "12"]
    assert [row[0] for row in final.rows] == names and "the gate takes int8" in final.title
    assert [row[0] for row in relations.rows] == ["input, int8", "input, bfloat16", "Q, K, V, int8"]
    for table in (hidden, basis, final, relations):
        assert all(len(row) == len(table.columns) for row in table.rows)
    # A wider codec is never worse.
    errors = [float(row[2]) for row in final.rows]
    assert errors[0] <= errors[1] <= errors[2]


def test_table_in_markdown():
    table = Table(title="What", columns=("a", "b"), rows=(("1", "2"),))
    assert table.markdown() == "What\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n"
