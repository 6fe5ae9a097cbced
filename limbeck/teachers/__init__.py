"""Teachers behind one protocol, `signals(batch, wanted) -> arrays`; backends load when needed."""

from limbeck.teachers.choose import BackendChoice, choose_backend
from limbeck.teachers.load import TeacherSource, find_teacher, load_teacher
from limbeck.teachers.protocol import Backend, Teacher, TeacherBatch, TeacherFacts

__all__ = [
    "Backend",
    "BackendChoice",
    "Teacher",
    "TeacherBatch",
    "TeacherFacts",
    "TeacherSource",
    "choose_backend",
    "find_teacher",
    "load_teacher",
]
