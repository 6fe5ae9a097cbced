"""Teachers behind one protocol, `signals(batch, wanted) -> arrays`; backends load when needed."""

from limbeck.teachers.load import load_teacher, read_facts
from limbeck.teachers.protocol import Teacher, TeacherBatch, TeacherFacts

__all__ = ["Teacher", "TeacherBatch", "TeacherFacts", "load_teacher", "read_facts"]
