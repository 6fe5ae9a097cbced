"""`launch plan`: the recipe's numbers, the network's, and what they come to."""

import json
import sys

import pytest

from launch.planning import plan as module
from launch.planning.measured import measured_run
from launch.planning.network import Cluster, parse_network
from launch.planning.plan import plan
from launch.planning.prediction import MORE_ROWS, Setting, predict
from limbeck.config import UsageError
from limbeck.runs import metric
from tests.train.conftest import Toy

MODEL = {"head": "masked_lm", "checkpoint": "a"}
STAGE = {
    "name": "",
    "parameters": 2_000_000,
    "trained_parameters": 1_000_000,
    "trained_variables": 10,
    "wire": "float32",
    "gradient_bytes": 4_000_000,
    "collectives": 2,
    "rows_per_micro": 4,
    "micro_batches": 2,
    "steps": 100,
    "tokens_per_step": 800.0,
    "training_flops": 16e9,
    "live_teacher": False,
    "read_bytes_per_step": {"examples": 3e6, "sparse": 5e6},
    "settings": {"model": MODEL, "objective": [{"loss": "mlm"}], "precision": "float32"},
}


def setting(hosts, ranks, **changes):
    values = {"inside": None, "latency_s": 0.0, "compute_s": 0.1, **changes}
    return Setting(cluster=Cluster(hosts=hosts, ranks_per_host=ranks), **values)


def test_prediction_is_arithmetic():
    found = predict(STAGE, parse_network("100MB/s"), setting(2, 1), wire="float32")
    assert found.reduce_s == pytest.approx(0.04)  # 4 MB, each half twice
    assert found.step_s == pytest.approx(0.14)
    assert found.efficiency == pytest.approx(0.1 / 0.14)
    assert found.efficiency_more_rows == pytest.approx(0.1 * MORE_ROWS / (0.1 * MORE_ROWS + 0.04))
    assert found.tokens_per_s == pytest.approx(800 / 0.14)
    assert found.read_bytes_per_s == pytest.approx(8e6 / 2 / 0.14)
    assert found.seconds == pytest.approx(14.0)


def test_other_wire_halves_the_bytes_and_adds_two_small_sums():
    options = {"latency_s": 1e-3, "compute_s": None}
    found = predict(STAGE, parse_network("100MB/s"), setting(2, 1, **options), wire="float16")
    assert found.reduce_s == pytest.approx(0.02 + 2 * 4 * 1e-3)
    assert found.step_s is found.efficiency is found.seconds is None


@pytest.fixture
def canned(monkeypatch):
    """`train plan` replaced by a command that writes given stages and prints a line."""

    def use(*stages, code=0):
        text = json.dumps({"recipe": "r", "ranks": 1, "stages": [{**STAGE, **s} for s in stages]})
        asked = []

        def command(options, cluster, out):
            asked.append((options, cluster))
            script = f"open({str(out)!r}, 'w').write({text!r}); raise SystemExit({code})"
            return [sys.executable, "-c", script]

        monkeypatch.setattr(module, "_train_plan", command)
        return asked

    return use


def test_networks_are_compared_where_none_is_named(canned, capsys, tmp_path):
    canned({})
    out = tmp_path / "plan.json"
    assert plan(["r.yaml", "--hosts", "4x8", "--step-s", "0.5", "--json", str(out)]) == 0
    text = capsys.readouterr().out
    assert "4 host(s) x 8 rank(s) = 32 rank(s); gradients: one ring over all ranks" in text
    assert "compute   0.5 s a step on each rank (as given)" in text
    lines = [line.split() for line in text.splitlines() if "float" in line]
    assert [line[0] for line in lines] == [
        name for name in ("10GbE", "25GbE", "100Gb/s", "400Gb/s") for _ in range(2)
    ]
    assert lines[0][1:4] == ["float32", "6.2", "ms"]  # 2 * 31/32 * 4 MB at 1.25 GB/s
    written = json.loads(out.read_text())
    assert written["cluster"] == {"hosts": 4, "ranks_per_host": 8, "ranks": 32}
    assert len(written["predictions"]) == 8
    assert written["predictions"][0]["reduce_s"] == pytest.approx(2 * 31 / 32 * 4e6 / 1.25e9)
    assert written["plan"]["stages"][0]["steps"] == 100


def test_operations_a_second_give_the_time_of_a_step(canned, capsys):
    canned({})
    assert plan(["r.yaml", "--hosts", "2x2", "--network", "25GbE", "--flops-per-s", "1e9"]) == 0
    assert "compute   4 s a step on each rank (4e+09 operations a rank" in capsys.readouterr().out
    canned({"live_teacher": True})
    with pytest.raises(UsageError, match="live teacher, whose operations are not counted"):
        plan(["r.yaml", "--hosts", "2x2", "--flops-per-s", "1e9"])


def test_one_host_needs_the_link_inside_it(canned, capsys):
    canned({})
    assert plan(["r.yaml", "--hosts", "1x2"]) == 0
    assert "one host: give --inside" in capsys.readouterr().out
    assert plan(["r.yaml", "--hosts", "1x2", "--inside", "1GB/s"]) == 0
    assert "1GB/s    float32    4.0 ms" in capsys.readouterr().out


def test_one_rank_exchanges_nothing(canned, capsys):
    canned({})
    assert plan(["r.yaml", "--hosts", "1x1", "--step-s", "0.5"]) == 0
    assert "none: one rank  float32    0.0 ms  0.500 s     100.0 %" in capsys.readouterr().out


def test_stages_have_tables_of_their_own_and_one_sum(canned, capsys):
    canned({"name": "01-a"}, {"name": "02-b", "wire": "float32", "steps": 260})
    assert plan(["r.yaml", "--hosts", "2x1", "--network", "8Gb/s", "--step-s", "1"]) == 0
    text = capsys.readouterr().out
    assert text.index("stage     01-a") < text.index("stage     02-b")
    # 360 steps of 1 s and 4 MB at 1 GB/s
    assert "all stages over 8Gb/s, float32: 6m01" in text


def test_what_train_refuses_ends_with_its_exit_code(canned):
    canned({}, code=2)
    assert plan(["r.yaml", "--hosts", "2x1"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hosts", "2"], "expected HOSTSxRANKS"),
        (["--hosts", "2x2", "--network", "fast"], "--network fast: expected a rate"),
        (["--hosts", "2x2", "--inside", "3"], "--inside 3: expected a rate"),
        (["--hosts", "1x4", "--network", "25GbE"], "--network has no effect on one host"),
        (["--hosts", "4x1", "--inside", "1GB/s"], "--inside has no effect with one rank a host"),
        (["--hosts", "1x1", "--latency-us", "3"], "one rank exchanges nothing"),
        (["--hosts", "2x2", "--step-s", "1", "--run", "x"], "--step-s and --run say the same"),
        (["--hosts", "2x2", "--step-s", "0"], "--step-s is 0.0; it must be above 0"),
        (["--hosts", "2x2", "--flops-per-s", "nan"], "--flops-per-s is nan"),
        (["--hosts", "2x2", "--latency-us", "-1"], "--latency-us is -1.0"),
        (["--hosts", "2x2", "--json", "/none/at/all.json"], "no directory; make it first"),
        (["--hosts", "2x2", "--run", "/none"], "is it a run"),
    ],
)
def test_options_that_mean_nothing_are_refused(canned, arguments, message):
    asked = canned({})
    with pytest.raises(UsageError, match=message):
        plan(["r.yaml", *arguments])
    assert "--run" in arguments or not asked  # before the recipe's data are opened


def measured_directory(path, *, ranks, micro_batch=None, model=MODEL, lines=3):
    path.mkdir(parents=True)
    config = {
        "model": model,
        "objective": [{"loss": "mlm"}],
        "training": {"global_batch": 20, "micro_batch": micro_batch, "precision": "float32"},
    }
    (path / "config.json").write_text(json.dumps(config))
    with (path / "metrics.jsonl").open("w") as file:
        file.write(json.dumps({"step": 1}) + "\n")
        for index in range(lines):
            line = {
                "step": 2 + index,
                "speed/step_s": [9.0, 0.8, 0.8][index],
                "speed/tokens_per_s": 900.0,
                "speed/tokens_per_s_per_rank": 900.0 / ranks,
            }
            if ranks > 1:
                line["speed/comm_share"] = 0.25
            assert all(metric(name) for name in line if name != "step")  # as the trainer's are
            file.write(json.dumps(line) + "\n")
    return path


def test_measured_run_is_scaled_by_its_rows_and_without_its_communication(tmp_path):
    run = measured_directory(tmp_path / "run", ranks=3, micro_batch=3)
    found = measured_run(str(run), STAGE)
    # 20 rows on 3 ranks are up to 7, in 3 micro-batches of 3.
    assert (found.ranks, found.rows) == (3, 9)
    assert found.compute_s == pytest.approx(0.6)
    assert found.compute_seconds(18) == pytest.approx(1.2)
    assert not found.changes


def test_measured_run_of_another_model_is_named(canned, capsys, tmp_path):
    canned({})
    run = measured_directory(tmp_path / "run", ranks=1, model={"head": "span", "checkpoint": "b"})
    assert plan(["r.yaml", "--hosts", "2x1", "--network", "25GbE", "--run", str(run)]) == 0
    out, error = capsys.readouterr()
    # 0.8 s for 20 rows; 2 micro-batches of 4 here.
    assert "compute   0.32 s a step on each rank (measured in" in out
    assert "model.head is span there and masked_lm here" in error
    assert "checkpoint" not in error


def test_stage_is_measured_by_its_name(tmp_path):
    measured_directory(tmp_path / "run" / "stages" / "02-b", ranks=1)
    found = measured_run(str(tmp_path / "run"), {**STAGE, "name": "02-b"})
    assert found.directory.name == "02-b"
    with pytest.raises(UsageError, match="01-a"):
        measured_run(str(tmp_path / "run"), {**STAGE, "name": "01-a"})


def test_run_without_a_measured_step_is_refused(tmp_path):
    run = measured_directory(tmp_path / "run", ranks=1, lines=0)
    with pytest.raises(UsageError, match="no line tells the speed of a step"):
        measured_run(str(run), STAGE)


def test_plan_of_a_recipe_runs_the_trainers_own(tmp_path, capfd):
    toy = Toy(tmp_path)
    toy.all_families()
    recipe = toy.write(toy.distil())
    arguments = [str(recipe), "--hosts", "2x1", "--network", "1Gb/s", "--set", "training.steps=5"]
    assert plan([*arguments, "--step-s", "0.1"]) == 0
    text = capfd.readouterr().out
    assert "steps     5 = 35 rows" in text
    assert text.index("student ") < text.index("cluster   2 host(s) x 1 rank(s)")
    assert plan([*arguments, "--set", "training.steps=-1"]) == 2
    assert "steps is -1" in capfd.readouterr().err
