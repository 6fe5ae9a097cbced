"""Two ranks: precisions, the float16 wire, and gradients that are not finite, in one launch."""

import json
from pathlib import Path

import numpy as np
import pytest

CHECKS = str(Path(__file__).with_name("step_checks.py"))


@pytest.fixture(scope="module")
def root(shared_toy):
    plain = shared_toy.distil(
        training={"steps": 8, "checkpoint_every": 8, "global_batch": 7, "verify_order_every": 0}
    )
    shared_toy.write(plain)
    return shared_toy.root


@pytest.mark.ranks(2)
def test_two_ranks_in_every_precision_and_with_gradients_that_are_not_finite(root, mpirun):
    done = mpirun(2, [CHECKS, str(root / "recipe.yaml"), str(root)], timeout_s=300, check=False)
    found = [line for line in done.stdout.splitlines() if line.startswith("CHECK ")]
    assert found, done.stdout + done.stderr
    losses = {name: np.array(v) for name, v in json.loads(found[0][6:]).items()}
    # Products have 11 bits in float16 and 8 in bfloat16, gradients 11 on the wire; Adam, whose
    # steps go by the signs of gradients, lets that grow over 8 updates.
    for name, tolerance in (("float16", 2e-2), ("bfloat16", 5e-2)):
        np.testing.assert_allclose(losses[name], losses["float32"], rtol=tolerance)
        assert (losses[name] != losses["float32"]).any()  # it does round

    # Steps 3, 5 and 6 are poisoned on rank 1, and one in a row may be left out.
    assert done.returncode == 1
    assert done.stdout.count("; skipped, 1 in a row of at most 1") == 2
    assert done.stderr.count("train run: error: step 6: the gradient is not finite") == 1
    lines = [json.loads(t) for t in (root / "poisoned/nonfinite.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 5, 6]
    first, second = lines[-1]["ranks"]
    assert (first["finite"], second["finite"]) == (True, False)
    assert len(first["keys"]) + len(second["keys"]) == 7
    assert second["keys"][0] in done.stderr and first["keys"][0] not in done.stderr
    assert not list((root / "poisoned/checkpoints").iterdir())
