"""Starts, kills and waits for worker processes on behalf of `test_kills.py`; no test itself.

A process of its own, in which what the workers need is imported once; each worker is a fork of it
that runs `JOB(arguments)`. One JSON line in, one out.
"""

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any


def records_job(out: str, index: int, count: int, num_shards: int, slow_s: float) -> None:
    """Writes two families as `extract` does, without a teacher: a shard in three batches."""
    import numpy as np

    from extract.worker import Worker
    from extract.workers import Claims
    from limbeck.records import DIGEST, KEY, DatasetWriter, Field, Layout, make_key, shards_of
    from limbeck.records.writer import RowBatch

    layout = Layout((KEY, DIGEST, Field("states", "float16", (64,))))
    worker = Worker(index=index, count=count)
    keys = np.frombuffer(
        b"".join(make_key(corpus="kills", page=page) for page in range(60 * num_shards)), np.uint8
    ).reshape(-1, 16)
    shards = shards_of(keys, num_shards)

    def batches(number: int):
        mine = keys[shards == number]
        for part in np.array_split(np.arange(len(mine)), 3):
            states = np.random.default_rng(number).random((len(mine), 64)).astype(np.float16)
            rows = {"key": mine[part], "digest": mine[part, :8], "states": states[part]}
            yield RowBatch(rows=rows, lengths=np.full(len(part), 5), labelled_positions=len(part))
            time.sleep(slow_s)

    with Claims(out, worker=worker, lease_s=5.0) as claims:
        writers = [
            DatasetWriter(
                os.path.join(out, name),
                name=name,
                kind="labels",
                layout=layout,
                num_shards=num_shards,
                settings={},
                attachments={"tensors.safetensors": name.encode() * 1000},
                shared=not worker.is_alone,
            )
            for name in ("first", "second")
        ]
        for writer in writers:
            writer.open()
        active = [writer for writer in writers if writer.finished() is None]
        done = [writer.done_shards((index, count)) for writer in active]
        pending = [n for n in range(num_shards) if any(n not in there for there in done)]
        claims.watch(active)
        while (number := claims.take(pending)) is not None:
            for writer in active:
                if not writer.has_shard(number):
                    writer.write_batches(number, batches(number))
            claims.release(number)
        with claims.finishing():
            for writer in active:
                if writer.finished() is None:
                    writer.finish(accounting={"in": len(keys)})


def extract_job(
    out: str, index: int, count: int, examples: str, teacher: str, recipe: dict[str, Any]
) -> None:
    """A worker of a real extraction."""
    from extract.run import extract
    from extract.settings import ExtractSettings
    from limbeck.labels import from_dict

    families = {name: from_dict(signal) for name, signal in recipe.pop("families").items()}
    extract(
        ExtractSettings(
            examples=examples,
            teacher=teacher,
            out=out,
            families=families,
            worker=f"{index}/{count}",
            **recipe,
        )
    )


JOBS: dict[str, Callable[..., None]] = {"records": records_job, "extract": extract_job}


def start(job: str, arguments: dict[str, Any]) -> int:
    """Returns the process id of a fork that runs a job; its output goes to `OUT.log`."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        log = os.open(arguments["out"] + ".log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        JOBS[job](**arguments)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Serves until its input ends."""
    for module in sys.argv[1:]:
        __import__(module)
    for line in sys.stdin:
        request = json.loads(line)
        match request.pop("do"):
            case "start":
                answer = start(**request)
            case "kill":
                os.kill(request["pid"], signal.SIGKILL)
                answer = os.waitstatus_to_exitcode(os.waitpid(request["pid"], 0)[1])
            case "poll":  # null while it runs
                pid, status = os.waitpid(request["pid"], os.WNOHANG)
                answer = os.waitstatus_to_exitcode(status) if pid else None
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
