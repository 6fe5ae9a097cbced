"""What `bench.autotune` makes of Horovod's CSV; the search itself is not run here."""

import pytest

from bench.autotune import Options, best_row, knobs_of, write_knobs
from launch.jobs.knobs import Knobs, load_knobs

# As Horovod 0.28.1 writes it, the blanks too.
CSV = """\
hierarchical_allreduce,hierarchical_allgather,torus_allreduce,cache_enabled,cycle_time_ms,\
tensor_fusion_threshold,score
0,0,0, 0,5,4,32.2018
0,1,0, 1,9.16024,15.6008,97.9896
0,0,0, 1,25,16,77.0141
"""


def test_row_with_the_highest_score_becomes_a_file_of_knobs(tmp_path):
    log, out = tmp_path / "tried.csv", tmp_path / "knobs.yaml"
    log.write_text(CSV)
    found = knobs_of(best_row(log))
    assert found == Knobs(
        fusion_threshold_mb=15.601,
        cycle_time_ms=9.16,
        cache_capacity=1024,
        hierarchical_allgather=True,
    )
    write_knobs(out, found, Options())
    assert load_knobs(str(out)) == found
    assert out.read_text().startswith("# Found by bench.autotune: 2 ranks on this machine")


def test_search_that_tried_nothing_is_refused(tmp_path):
    log = tmp_path / "tried.csv"
    log.write_text(CSV.splitlines()[0] + "\n")
    with pytest.raises(ValueError, match="tried nothing; give more steps"):
        best_row(log)
