"""The files for Kubernetes: their fields, their words, and the worker's number.

`kubectl` here is a fake but for two tests: there the real one decodes our files, without a cluster.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from extract.worker import Worker, parse_worker
from launch.render.kubernetes import HOSTFILE, KubernetesJob, kubernetes_file
from launch.render.pods import literal
from launch.render.yaml_text import yaml_text
from limbeck.config.errors import UsageError

HERE = Path(__file__).parent
GOLDEN = sorted(HERE.glob("golden/*.yaml"))
SCHEMA = yaml.safe_load((HERE / "job_schema.yaml").read_text())
TYPES = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}

# What readers of YAML take for other than a string, or Kubernetes for a variable.
NASTY = [
    *["y", "N", "yes", "off", "null", "~", "010", "0o7", "1_000", "1e3", ".inf", "1:30", "0x1F"],
    *["2026-11-22", "", " ", "- a", "a: b", "#", "&a", "*a", "!x", "%", "@", "`", "{}", "[1]", "|"],
    *[
        "$(HOME)",
        "$$(HOME)",
        "$HOME",
        "$",
        "$(",
        "a\nb\n",
        "\t",
        "it's",
        '"',
        "\\",
        "äß→ 中\U0001f600",
    ],
    *["\x85\u2028", "\x07\x1b"],
]


def problems(value, schema, where="file"):
    """What a value has that the schema does not allow, strictly: unknown fields too."""
    if "$ref" in schema:
        schema = SCHEMA["definitions"][schema["$ref"]]
    kind = TYPES[schema["type"]]
    if type(value) is not kind:
        return [f"{where}: {value!r} is not of type {schema['type']}"]
    found = []
    if value not in schema.get("enum", [value]):
        found.append(f"{where}: {value!r} is none of {schema['enum']}")
    if "pattern" in schema and not re.fullmatch(schema["pattern"], value):
        found.append(f"{where}: {value!r} does not match {schema['pattern']}")
    if value < schema["minimum"] if "minimum" in schema else False:
        found.append(f"{where}: {value} is below {schema['minimum']}")
    if kind is list:
        for number, item in enumerate(value):
            found += problems(item, schema["items"], f"{where}[{number}]")
    if kind is dict:
        found += [f"{where}: no {name}" for name in schema.get("required", []) if name not in value]
        for name, item in value.items():
            inner = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
            found += (
                problems(item, inner, f"{where}.{name}") if inner else [f"{where}.{name}: unknown"]
            )
    return found


def expanded(word, variables):
    """A word as Kubernetes hands it to a container: `$(NAME)` replaced, `$$` for `$`."""

    def replace(match):
        name = match[1]
        return "$" if match[0] == "$$" else variables.get(name, match[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", replace, word)


def document(command=("true",), **fields):
    job = KubernetesJob(**{"image": "registry.example/limbeck:1", **fields})
    return yaml.safe_load(kubernetes_file(job, list(command), written_by=["limbeck"]))


def pods_of(file):
    """Every pod specification of a file, by the role it has."""
    if file["kind"] == "Job":
        return {"worker": file["spec"]["template"]["spec"]}
    replicas = file["spec"]["mpiReplicaSpecs"]
    return {role.lower(): part["template"]["spec"] for role, part in replicas.items()}


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_rendered_fields_are_those_of_the_definitions(path):
    file = yaml.safe_load(path.read_text())
    assert problems(file, SCHEMA[file["kind"]]) == []


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("spec", "slotsPerWorker"), 0, "file.spec.slotsPerWorker: 0 is below 1"),
        (("spec", "slotsPerWorker"), "8", "file.spec.slotsPerWorker: '8' is not of type integer"),
        (("spec", "slots"), 8, "file.spec.slots: unknown"),
        (("kind",), "MPIJobs", "file.kind: 'MPIJobs' is none of ['MPIJob']"),
    ],
)
def test_checker_of_these_tests_finds_mistakes(path, value, problem):
    file = document()
    inner = file
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    assert problem in problems(file, SCHEMA["MPIJob"])


@pytest.mark.parametrize("kind", ["mpijob", "indexed"])
def test_words_reach_the_container_as_they_were(kind):
    file = document(["true", *NASTY], kind=kind, env=("VALUE=$(HOME) it's",))
    spec = list(pods_of(file).values())[0]
    words = [expanded(w, {"HOME": "/root"}) for w in spec["containers"][0]["command"]]
    assert words[words.index("true") + 1 :] == NASTY
    assert expanded(spec["containers"][0]["env"][0]["value"], {"HOME": "/"}) == "$(HOME) it's"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_any_words_survive_yaml_and_kubernetes(words):
    file = yaml.safe_load(yaml_text({"words": literal(words)}))
    assert [expanded(word, {"": "x", "A": "y"}) for word in file["words"]] == words


@pytest.mark.parametrize("word", ["a\0b", "\udcff"])
def test_word_that_no_file_can_hold_is_refused(word):
    with pytest.raises(UsageError, match="NUL|not UTF-8"):
        literal([word])


def test_launcher_runs_our_mpirun_with_checked_hosts():
    file = document(["true"], workers=3, ranks_per_worker=4, gpus=4, set=("cycle_time_ms=5",))
    pods = pods_of(file)
    words = pods["launcher"]["containers"][0]["command"]
    assert words[1] == "launcher"
    assert words[words.index("-np") + 1] == "12"
    assert words[words.index("--hostfile") + 1] == HOSTFILE
    assert "StrictHostKeyChecking=yes" in words[words.index("plm_rsh_args") + 1]
    exported = [words[i + 1] for i, word in enumerate(words) if word == "-x"]
    assert {"HOROVOD_CYCLE_TIME", "OPAL_PREFIX", "PATH"} <= set(exported)
    assert "--allow-run-as-root" not in words
    assert file["spec"]["slotsPerWorker"] == 4
    limits = {role: pod["containers"][0]["resources"]["limits"] for role, pod in pods.items()}
    assert limits["worker"]["nvidia.com/gpu"] == 4 and "nvidia.com/gpu" not in limits["launcher"]
    assert pods["worker"]["containers"][0]["command"][1:] == ["worker"]


def test_data_is_staged_where_the_ranks_are_and_nowhere_else():
    file = document(
        scratch="5Gi:/scratch", claim=("data:/shared",), stage=("'/shared/a b' --to /s",)
    )
    pods = pods_of(file)
    assert "initContainers" not in pods["launcher"]
    [stage] = pods["worker"]["initContainers"]
    assert stage["command"] == ["python", "-m", "launch", "stage", "/shared/a b", "--to", "/s"]
    assert {mount["mountPath"] for mount in stage["volumeMounts"]} == {
        "/dev/shm",
        "/shared",
        "/scratch",
    }


def decoded(text, path):
    """What the real kubectl makes of a file. It knows pods and jobs, and asks no cluster."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not on this machine")
    path.write_text(text)
    line = [kubectl, "set", "env", "--local", "-f", str(path), "ADDED=1", "-o", "json"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_real_kubectl_decodes_the_pods_as_they_were(path, tmp_path):
    file = yaml.safe_load(path.read_text())
    parts = [file] if file["kind"] == "Job" else []  # MPIJobs themselves are strange to it
    for role, spec in pods_of(file).items():
        parts.append({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": role}, "spec": spec})
    for part in parts:
        assert missing(part, decoded(yaml_text(part), tmp_path / "part.yaml")) == []


def test_real_kubectl_reads_odd_words_as_they_were(tmp_path):
    job = KubernetesJob(image="i", kind="indexed")
    text = kubernetes_file(job, ["true", *NASTY], written_by=["limbeck", *NASTY])
    file = decoded(text, tmp_path / "job.yaml")
    words = pods_of(file)["worker"]["containers"][0]["command"]
    assert words == ["true", *literal(NASTY)]


def missing(ours, theirs, where="file"):
    """What of ours is not in theirs; lists may have more at their end."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        pairs = [(f"{where}.{name}", item, theirs.get(name)) for name, item in ours.items()]
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) <= len(theirs):
        pairs = [(f"{where}[{i}]", item, theirs[i]) for i, item in enumerate(ours)]
    else:  # kubectl writes quantities as strings
        return [] if str(ours) == str(theirs) else [f"{where}: {ours!r} became {theirs!r}"]
    return [line for place, mine, other in pairs for line in missing(mine, other, place)]


FAKE_KUBECTL = """\
# A FAKE kubectl: notes its arguments and runs the pods of an Indexed Job here, one after another.
import os, re, subprocess, sys
import yaml
open(os.environ["FAKES"] + "/kubectl.args", "a").write(repr(sys.argv[1:]))
spec = yaml.safe_load(open(sys.argv[3]))["spec"]
[container] = spec["template"]["spec"]["containers"]
plain = lambda word: word.replace("$$", "$")
for index in range(spec["completions"]):
    variables = {item["name"]: plain(item["value"]) for item in container["env"]}
    subprocess.run(
        [plain(word) for word in container["command"]],
        env={**os.environ, **variables, "JOB_COMPLETION_INDEX": str(index)},
        check=True,
    )
"""


def test_pods_of_an_indexed_job_know_which_worker_they_are(fakes):
    program = fakes.directory / "kubectl.py"
    program.write_text(FAKE_KUBECTL)
    show = (
        "import os, json; print(json.dumps({k: v for k, v in os.environ.items() if 'JOB_' in k}))"
    )
    job = KubernetesJob(image="i", kind="indexed", workers=3)
    text = kubernetes_file(job, [sys.executable, "-Sc", show], written_by=["limbeck"])
    file = fakes.directory / "job.yaml"
    file.write_text(text)
    done = fakes.run([sys.executable, str(program), "apply", "-f", str(file)])
    assert done.returncode == 0, done.stderr
    assert (fakes.directory / "kubectl.args").read_text() == repr(["apply", "-f", str(file)])
    workers = [parse_worker("auto", json.loads(line)) for line in done.stdout.splitlines()]
    assert workers == [Worker(index=i, count=3) for i in range(3)]
