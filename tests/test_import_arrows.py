"""Who may import whom, and which packages live without TensorFlow (DESIGN, section 3)."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

TENSORFLOW_FREE = [
    "limbeck.architectures",
    "limbeck.config",
    "limbeck.interop",
    "limbeck.labels",
    "limbeck.order",
    "limbeck.records",
    "limbeck.pages",
    "limbeck.runs",
    "limbeck.tokens",
    "prep",
    "launch",
]

IMPORT_ALL = """
import importlib, pkgutil, sys

def import_all(name):
    module = importlib.import_module(name)
    for found in pkgutil.iter_modules(module.__path__, name + "."):
        # limbeck.labels.device holds the codecs' TensorFlow twins; __main__ would run.
        if found.name.endswith(("labels.device", "__main__")):
            continue
        import_all(found.name) if found.ispkg else importlib.import_module(found.name)
"""

WITHOUT_TENSORFLOW = """
loaded = {"tensorflow", "keras"} & set(sys.modules)
sys.exit(f"loaded {sorted(loaded)}" if loaded else 0)
"""

# Proves that TensorFlow works, not only that it imports: a protobuf message registered twice
# breaks either.
USE_TENSORFLOW = """
import tensorflow as tf
example = tf.train.Example.FromString(tf.train.Example().SerializeToString())
assert int(tf.constant(1) + 1) == 2
"""


def packages_on_disk():
    return [name for name in TENSORFLOW_FREE if (ROOT / name.replace(".", "/")).is_dir()]


def run_python(code):
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_import_contracts_hold():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    assert " 0 broken" in done.stdout


@pytest.mark.parametrize("package", packages_on_disk())
def test_package_does_not_load_tensorflow(package):
    run_python(f"import_all({package!r})" + WITHOUT_TENSORFLOW)


def test_tensorflow_works_after_our_packages():
    imports = "".join(f"import_all({package!r})\n" for package in packages_on_disk())
    run_python(imports + USE_TENSORFLOW)


def test_our_packages_work_after_tensorflow():
    imports = "".join(f"import_all({package!r})\n" for package in packages_on_disk())
    run_python(USE_TENSORFLOW + imports)
