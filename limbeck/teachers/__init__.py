"""Teachers behind one protocol, `signals(batch, wanted) -> arrays`; backends load when needed."""

from limbeck.teachers.load import load_teacher
from limbeck.teachers.protocol import Teacher, TeacherBatch

__all__ = ["Teacher", "TeacherBatch", "load_teacher"]
