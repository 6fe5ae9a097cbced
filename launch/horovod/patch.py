"""Our changes to Horovod's sources: exact lines, replaced or refused.

Standard library only: `make setup` runs this before anything is installed.
"""

import dataclasses
import hashlib
from pathlib import Path

# Directories, from Horovod's library, in which the loader looks for libmpi; set by the builder.
RPATH_VARIABLE = "LIMBECK_HOROVOD_RPATH"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Edit:
    """One piece of text in one file, and what takes its place."""

    file: str
    """Path inside Horovod's source tree."""
    old: str
    """Must occur exactly once."""
    new: str
    """What stands there afterwards."""


EDITS = (
    # TensorFlow 2.16 moved the XLA headers that this file includes. It only serves collectives
    # inside XLA-compiled functions, which we never use.
    Edit(
        file="horovod/tensorflow/CMakeLists.txt",
        old='list(APPEND TF_SOURCES "${PROJECT_SOURCE_DIR}/horovod/tensorflow/xla_mpi_ops.cc")\n',
        new="",
    ),
    # CMake would write the build environment's absolute path into the library; the cached wheel
    # has to find the MPI of whatever environment it is installed in.
    Edit(
        file="horovod/tensorflow/CMakeLists.txt",
        old='set_target_properties(${TF_TARGET_LIB} PROPERTIES OUTPUT_NAME "mpi_lib")\n',
        new='set_target_properties(${TF_TARGET_LIB} PROPERTIES OUTPUT_NAME "mpi_lib"\n'
        f'    BUILD_WITH_INSTALL_RPATH TRUE INSTALL_RPATH "$ENV{{{RPATH_VARIABLE}}}")\n',
    ),
)


def patch_digest() -> str:
    """Returns a hash of all edits: a wheel built with others is another wheel."""
    text = "\0".join(part for edit in EDITS for part in (edit.file, edit.old, edit.new))
    return hashlib.sha256(text.encode()).hexdigest()


def apply_edits(source: Path) -> None:
    """Changes Horovod's source tree in place.

    Raises:
      ValueError: a line to change is not there exactly once: this is not the Horovod we know.
    """
    for edit in EDITS:
        path = source / edit.file
        text = path.read_text()
        count = text.count(edit.old)
        if count != 1:
            raise ValueError(
                f"{edit.file}: expected this line once, found it {count} times: "
                f"{edit.old.strip()!r}; launch/horovod/patch.py does not fit this Horovod"
            )
        path.write_text(text.replace(edit.old, edit.new))
