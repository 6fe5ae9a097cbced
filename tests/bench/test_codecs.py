"""The codec benchmark's measurements on a case small enough to work out."""

from dataclasses import replace

import numpy as np
import pytest

from bench import _full, _sparse
from bench._sparse import Codec, Positions
from bench.codecs import BEGIN, END, Options, main, write_between_marks
from limbeck.config.errors import LimbeckError
from limbeck.labels import Side, SparseSignal

V = 120


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(30), 5)
    teacher, early, late = (rng.normal(0, 2, (150, V)).astype(np.float32) for _ in range(3))
    return Positions(
        keys=rng.integers(0, 256, (30, 16)).astype(np.uint8),
        rows=rows,
        tokens=np.tile(np.arange(5), 30),
        true_ids=np.zeros(150, np.int64),
        teacher=teacher,
        students={"early": early, "late": teacher + 0.1 * late},
    )


def test_all_ids_kept_give_the_full_gradient(data):
    codec = Codec(name="all", signal=SparseSignal(k=V))
    found = _sparse.measure(codec, data, data.teacher, seeds=1)
    assert found.num_bytes == 4 * V + 4 + 4 + 12
    for angle, ratio in found.gradients.values():
        assert angle < 0.5 and abs(ratio - 1) < 5e-3  # logits in fp16


def test_sample_is_closer_the_finer_it_is_and_a_bucket_is_not_unbiased(data):
    def lean(one_in):
        return SparseSignal(threshold=1 / one_in, sample=True, form="lean", temperatures=(1.0,))

    coarse, fine = (
        _sparse.measure(Codec(name="", signal=lean(n)), data, data.teacher, seeds=5)
        for n in (10, 60)
    )
    assert fine.squared_error < coarse.squared_error and fine.num_bytes > coarse.num_bytes
    assert fine.gradients["early", 1.0][0] < coarse.gradients["early", 1.0][0]
    peer = _sparse.measure_rs_kd(data, num_draws=10, seeds=5)
    assert coarse.squared_error < peer.squared_error  # the head is not drawn, no id twice
    deviation, beyond = _sparse.unbiasedness(
        lean(10), data, temperature=1.0, num_positions=4, seeds=512
    )
    assert 0.8 < deviation < 1.2 and beyond < 0.02


def test_tables_go_between_the_marks(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_between_marks(path, "new\n")
    assert path.read_text() == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    path.write_text("no marks")
    with pytest.raises(LimbeckError, match="are not both there"):
        write_between_marks(path, "new")


def test_final_states_give_the_full_gradient_the_closer_the_finer_they_are(data):
    rng = np.random.default_rng(1)
    states = rng.normal(0, 1, (150, 24)).astype(np.float32)
    kernel, bias = (rng.normal(0, 1, shape).astype(np.float32) for shape in ((V, 24), (V,)))
    found = _full.measure(
        _full.FinalStates(
            measured=states,
            others=states[:50],
            decoder=Side(tensors={"decoder/kernel": kernel, "decoder/bias": bias}),
        ),
        replace(data, teacher=states @ kernel.T + bias),
    )
    assert [row.name for row in found] == ["final, int8", "final, int8+8", "final, bfloat16"]
    assert [row.num_bytes for row in found] == [24 + 4, 24 + 4 + 16, 48]
    assert found[0].squared_error > found[1].squared_error > 0.0
    for row in found:
        assert row.gradients.keys() == _full.full_row(data).gradients.keys()
        for angle, ratio in row.gradients.values():
            assert angle < 0.5 and abs(ratio - 1) < 5e-3  # states to 1 % of their scale


def test_some_of_the_parts_replace_no_tables(tmp_path, capsys):
    (tmp_path / "teacher").mkdir()
    options = Options(demo=str(tmp_path), parts=("full",), out=str(tmp_path / "page.md"))
    assert main(options) == 2
    assert "leave out --parts, or --out" in capsys.readouterr().out
