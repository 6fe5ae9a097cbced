"""Beam's Dask runner, made to run our pipelines: `--runner DaskRunner`.

Beam 2.77's own runner mixes the outputs of a step that has several (every consumer gets all), and
drops what a step yields at the end of a bundle. So here a step with several outputs is replaced by
one that marks each element with its output, followed by one filter an output; and a pipeline that
needs the end of a bundle is refused. Needs the packages `dask` and `distributed`; the output
directory must lie on a file system that all workers share, or be remote.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.pipeline import AppliedPTransform, Pipeline, PipelineVisitor, PTransformOverride
from apache_beam.runners.common import DoFnSignature
from apache_beam.runners.dask import dask_runner
from apache_beam.runners.dask.overrides import _GroupAlsoByWindow

from limbeck.config.errors import UsageError

__all__ = ["DaskRunner"]

_MAIN = ""  # the mark of an element of the main output


class DaskRunner(dask_runner.DaskRunner):
    """Runs a pipeline on a Dask cluster: `dask_client_address`, or a new one on this machine."""

    def run_pipeline(self, pipeline: Pipeline, options: Any) -> Any:
        """Starts the pipeline and returns its result."""
        pipeline.visit(_Check())
        pipeline.replace_all([_SeveralOutputs()])
        result = super().run_pipeline(pipeline, options)
        return _Result(result.client, result.futures)


class _Result(dask_runner.DaskRunnerResult):
    """Leaves the cluster when the pipeline has ended."""

    def wait_until_finish(self, duration: int | None = None) -> str:
        try:
            return str(super().wait_until_finish(duration))
        finally:
            self.client.close()


class _Check(PipelineVisitor):
    """Refuses steps that the runner would run wrongly."""

    def visit_transform(self, transform_node: AppliedPTransform) -> None:
        transform = transform_node.transform
        if not isinstance(transform, beam.ParDo) or isinstance(transform, _GroupAlsoByWindow):
            return
        if DoFnSignature(transform.fn).is_splittable_dofn():
            raise UsageError(
                f"DaskRunner does not split a source, and {type(transform.fn).__name__} is one; "
                "use another runner"
            )
        if type(transform.fn).finish_bundle is not beam.DoFn.finish_bundle:
            raise UsageError(
                f"DaskRunner drops what a step yields at the end of a bundle, and "
                f"{type(transform.fn).__name__} does so; use another runner"
            )


class _SeveralOutputs(PTransformOverride):
    """Matches steps with tagged outputs."""

    def matches(self, applied_ptransform: AppliedPTransform) -> bool:
        return (
            isinstance(applied_ptransform.transform, beam.ParDo)
            and len(applied_ptransform.outputs) > 1
        )

    def get_replacement_transform_for_applied_ptransform(
        self, applied_ptransform: AppliedPTransform
    ) -> beam.PTransform:
        outputs = list(applied_ptransform.outputs)
        return _MarkAndSelect(applied_ptransform.transform.fn, outputs)


class _MarkAndSelect(beam.PTransform):
    """A step whose elements carry the tag of their output, and a filter for each tag."""

    def __init__(self, fn: beam.DoFn, tags: list[str | None]) -> None:
        super().__init__()
        self._fn = fn
        self._tags = tags

    def expand(self, pcoll: beam.PCollection) -> dict[str | None, beam.PCollection]:
        """Adds the steps."""
        marked = pcoll | "Mark" >> beam.ParDo(_Mark(self._fn))
        return {
            tag: marked | f"Select {tag}" >> beam.FlatMap(_select, tag=_mark_of(tag))
            for tag in self._tags
        }


def _mark_of(tag: str | None) -> str:
    return _MAIN if tag in (None, "None") else str(tag)


def _select(element: tuple[str, Any], *, tag: str) -> Iterable[Any]:
    mark, value = element
    return [value] if mark == tag else []


class _Mark(beam.DoFn):
    """Calls another step and yields (tag, element)."""

    def __init__(self, fn: beam.DoFn) -> None:
        super().__init__()
        self._fn = fn

    def setup(self) -> None:
        self._fn.setup()

    def start_bundle(self) -> None:
        self._fn.start_bundle()

    def process(self, element: Any) -> Iterator[tuple[str, Any]]:
        """Processes one element."""
        for value in self._fn.process(element) or ():
            if isinstance(value, beam.pvalue.TaggedOutput):
                yield str(value.tag), value.value
            else:
                yield _MAIN, value

    def teardown(self) -> None:
        self._fn.teardown()
