"""What does not belong together is refused in one line, and all ranks leave together."""

import json
from pathlib import Path

import numpy as np
import pytest

from train.checkpoints import checkpoint

CHECKS = str(Path(__file__).with_name("bad_input_checks.py"))


def spoil_digest(rows):
    rows["digest"][:] ^= np.uint8(1)


@pytest.fixture
def cases(toy):
    """Name -> (exit code, parts of the one line); writes recipes and data."""
    root, found, listed = toy.root, {}, []
    toy.all_families()
    other = toy.examples("other", seed=5)
    toy.sparse(root / "examples", "other_vocabulary", vocab_size=60)
    toy.sparse(other, "other_dataset")
    toy.sparse(root / "examples", "other_masking", spoil=spoil_digest)

    def case(name, code, *parts, labels=None, recipe=None, run_dir=None):
        plain = recipe or toy.distil()
        if labels is not None:
            plain["data"]["labels"]["top"] = str(root / labels)
        toy.write(plain, f"{name}.yaml")
        listed.append((name, f"{name}.yaml", run_dir or f"run_{name}"))
        found[name] = code, parts

    toy.write(toy.distil())
    for name in ("other_vocabulary", "other_dataset"):
        case(name, 2, str(root / name), labels=name)
    case("other_masking", 2, str(root / "other_masking"), "another input", labels="other_masking")
    plain = toy.distil()
    plain["objective"][2]["student_layer"] = 5
    case("no_such_layer", 2, "student_layer is 5, but the student has 1 layers", recipe=plain)
    plain = toy.distil()
    plain["model"]["freeze"] = ["encoder/layer_7"]
    case("no_such_variable", 2, "model.freeze", "'encoder/layer_7'", recipe=plain)
    for name, code, *parts in (
        ("other_model", 2, "a checkpoint of another model: hidden_dim is 16 there and 8 here"),
        ("other_tensors", 2, "kernel' is float32 (8, 13) there and float32 (8, 12) here"),
        ("other_data", 2, "does not fit this run", "dataset ffffffff", "seed is 99"),
        ("all_damaged", 1, "no checkpoint in", "delete the run's directory"),
    ):
        case(name, code, *parts, run_dir=name)
    plain = toy.distil(seed=4)
    case("other_settings", 2, "made by a run with other settings", run_dir="other_settings")
    toy.write({**toy.distil(), "seed": 4}, "other_settings.yaml")
    (root / "cases.json").write_text(json.dumps(listed))
    return root, found


@pytest.mark.ranks(2)
@pytest.mark.faults
def test_each_is_one_clear_line_and_the_end_of_all_ranks(cases, mpirun):
    root, expected = cases
    done = mpirun(2, [CHECKS, str(root)], timeout_s=300, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("CHECK ")]
    assert lines, done.stdout + done.stderr
    found = json.loads(lines[0][6:])
    assert found.keys() == expected.keys()
    for name, (code, parts) in expected.items():
        leader, other = found[name]
        assert (leader["code"], other["code"]) == (code, code), (name, found[name])
        assert not other["lines"], (name, found[name])
        *warnings, line = leader["lines"]
        assert all(text.startswith("WARNING: ") for text in warnings), (name, warnings)
        assert line.startswith("train run: error: "), (name, line)
        for part in parts:
            assert part in line, (name, line)
        assert len(warnings) == (2 if name == "all_damaged" else 0), warnings

    # What Keras 3 does in silence with Horovod's own optimiser.
    assert done.returncode == 1
    assert "the weights of rank 1 are not those of rank 0" in done.stderr
    assert not checkpoint.list_checkpoints(root / "no_synchronisation" / "checkpoints")
