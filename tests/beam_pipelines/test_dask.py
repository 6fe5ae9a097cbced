"""The same datasets on a Dask cluster of processes as on the local runner."""

import subprocess
import sys

import apache_beam as beam
import pytest

pytest.importorskip("distributed", reason="needs the packages dask and distributed")

from beam_pipelines.dask_runner import _Check, _MarkAndSelect  # noqa: E402
from limbeck.config.errors import UsageError  # noqa: E402

# Beam's Dask runner starts a cluster in the process that runs it, so this is a program of its own.
ON_DASK = """
import sys, warnings
warnings.simplefilter("ignore")
from dask.distributed import LocalCluster
from beam_pipelines.{module} import main

if __name__ == "__main__":
    options = dict(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with LocalCluster(**options) as cluster:
        flags = ["dask_client_address=" + cluster.scheduler_address, "dask_npartitions=4"]
        main([*sys.argv[1:], "--runner", "DaskRunner", "--beam-options", *flags])
"""


@pytest.mark.slow
@pytest.mark.parametrize("module", ["text", "wikipedia"])
def test_dataset_of_a_dask_cluster_is_the_local_one(small_dump, tmp_path, run, tree, module):
    option = {"text": "--input", "wikipedia": "--dump"}[module]
    command = [option, str(small_dump), "--corpus", "c", "--num-shards", "3"]
    assert run(f"beam_pipelines.{module}", *command, "--out", tmp_path / "local").code == 0
    script = tmp_path / "on_dask.py"
    script.write_text(ON_DASK.format(module=module))
    done = subprocess.run(
        [sys.executable, str(script), *command, "--out", str(tmp_path / "dask")],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "dask") == tree(tmp_path / "local")


class TwoOutputs(beam.DoFn):
    def process(self, number):
        yield number
        yield beam.pvalue.TaggedOutput("odd" if number % 2 else "even", number * 10)


class AtTheEnd(beam.DoFn):
    def process(self, number):
        return []

    def finish_bundle(self):
        yield from ()


def test_outputs_are_kept_apart():
    from apache_beam.testing.util import assert_that, equal_to

    from beam_pipelines.runner import run_pipeline

    def build(pipeline):
        outputs = (
            pipeline
            | beam.Create([1, 2, 3])
            | _MarkAndSelect(TwoOutputs(), ["None", "odd", "even"])
        )
        assert_that(outputs["None"], equal_to([1, 2, 3]), label="main")
        assert_that(outputs["odd"], equal_to([10, 30]), label="odd")
        assert_that(outputs["even"], equal_to([20]), label="even")

    run_pipeline(build)


def test_step_that_yields_at_the_end_of_a_bundle_is_refused():
    pipeline = beam.Pipeline("apache_beam.runners.portability.fn_api_runner.FnApiRunner")
    pipeline | beam.Create([1]) | beam.ParDo(AtTheEnd())
    with pytest.raises(UsageError, match="DaskRunner drops .* AtTheEnd does so"):
        pipeline.visit(_Check())
