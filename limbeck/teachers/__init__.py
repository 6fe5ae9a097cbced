"""Teachers behind one protocol, `signals(batch, wanted) -> arrays`; backends load when needed."""

from limbeck.teachers.choose import BackendChoice, choose_backend
from limbeck.teachers.load import TeacherSource, find_teacher, load_teacher
from limbeck.teachers.protocol import (
    Backend,
    Items,
    LoadOptions,
    Precision,
    Side,
    Teacher,
    TeacherBatch,
    TeacherFacts,
    TeacherOutOfMemory,
)

__all__ = [
    "Backend",
    "BackendChoice",
    "Items",
    "LoadOptions",
    "Precision",
    "Side",
    "Teacher",
    "TeacherBatch",
    "TeacherFacts",
    "TeacherOutOfMemory",
    "TeacherSource",
    "choose_backend",
    "find_teacher",
    "load_teacher",
]
