"""What `python -m train run` says to recipes that it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Runs commands one after the other in one process; with names, where nobody may import those.
COMMANDS = """\
import contextlib, io, json, sys
for name in sys.argv[1:]:
    sys.modules[name] = None
from limbeck.config.command import dispatch
from train.commands import VERBS
ended = []
for line in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            dispatch("train", VERBS, line)
        except SystemExit as end:
            ended.append((end.code, out.getvalue(), err.getvalue()))
print(json.dumps(ended))
"""
NOT_BEFORE = ("tensorflow", "keras", "horovod")


def refusals(place, asked, *, without=NOT_BEFORE):
    """What one process says to all that is asked: name -> text of a recipe, and arguments.

    Returns the one line that refuses each, and the lines of its marks ("# here"). None of the
    modules `without` may be imported.
    """
    argv = []
    for number, (text, *arguments) in enumerate(asked.values()):
        path = place / f"recipe-{number}.yaml"
        path.write_text(text.replace("ROOT", str(place)))
        argv.append(["run", str(path), "--run-dir", str(place / "run"), *arguments])
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, *without],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input=json.dumps(argv),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = {}
    for (name, (text, *_)), line, ended in zip(
        asked.items(), argv, json.loads(done.stdout), strict=True
    ):
        code, said, error = ended
        assert code == 2 and not said and len(error.splitlines()) == 1, (name, error)
        assert not (place / "run").exists()
        marked = [n for n, line in enumerate(text.splitlines(), 1) if "# here" in line]
        found[name] = error.strip().replace(f"train run: error: {line[1]}:", "RECIPE:"), marked
    return found
