"""What the last bits of a run depend on, and what the run can therefore promise."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from typing import Any

from limbeck import __version__
from limbeck.ranks import World
from limbeck.records.canonical import differences

__all__ = ["make_deterministic", "promise", "surroundings"]


def make_deterministic() -> None:
    """Makes TensorFlow's operations give equal bits from run to run, for the whole process."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()


def surroundings(world: World) -> dict[str, Any]:
    """Versions, ranks, threads and machine, as they stand in a checkpoint."""
    import tensorflow as tf

    gpus = tf.config.get_visible_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    horovod = importlib.metadata.version("horovod") if world.size > 1 else "none"
    return {
        "limbeck": __version__,
        "tensorflow": tf.__version__,
        "keras": importlib.metadata.version("keras"),
        "horovod": horovod,
        "world_size": world.size,
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads(),
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
        "autotune": os.environ.get("HOROVOD_AUTOTUNE", "0"),
        "processor": _processor(),
        "device": ", ".join(d.get("device_name", "GPU") for d in details) or "cpu",
    }


def promise(here: Mapping[str, Any], there: Mapping[str, Any] | None) -> str:
    """What a run, or its continuation, is equal to, in one line.

    Args:
      here: surroundings of this process.
      there: those of the checkpoint that it goes on from; None for a new run.
    """
    if here["autotune"] not in ("0", ""):
        return "batch-exact: HOROVOD_AUTOTUNE changes the order of sums while it runs"
    if there is None:
        return (
            f"bit-exact: interrupted and resumed with {here['world_size']} rank(s), this build "
            "and this machine type, the run ends in the same bytes; elsewhere batch-exact"
        )
    if dict(here) == dict(there):
        return "bit-exact: goes on as if it had not been interrupted"
    changes = "; ".join(differences(dict(there), dict(here)))
    return f"batch-exact: the same batches, last bits may differ, because {changes}"


def _processor() -> str:
    """The processor's model: libraries choose their instructions by it."""
    try:
        with open("/proc/cpuinfo") as file:
            lines = [line for line in file if line.startswith("model name")]
    except OSError:
        lines = []
    name = lines[0].partition(":")[2].strip() if lines else ""
    return name or platform.processor() or platform.machine()
