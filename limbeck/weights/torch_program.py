"""The programs inside PyTorch's checkpoints, read without running anything.

A `.bin` file holds its names and shapes as a small stack program (Python's pickle format), which
can ask for any function of any module to be called. This interpreter builds containers and
numbers, knows the few names that a table of tensors needs as plain data, calls nothing, imports
nothing, and refuses every other operation and name.
"""

import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast

from limbeck.config.errors import LimbeckError, UsageError

__all__ = ["Readable", "Storage", "TensorView", "read_program"]


class Readable(Protocol):
    """What a program is read from."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes."""

    def readline(self) -> bytes:
        """Up to and with the next line feed."""

    def tell(self) -> int:
        """The position."""


class Storage(NamedTuple):
    """A run of numbers somewhere else in the file."""

    kind: str
    """PyTorch's word for the dtype: `Float`, `Half`, `BFloat16`, ..."""
    key: str
    """Which run."""
    offset: int
    """Elements of the run that come before this storage: 0 but for views of the oldest files."""
    size: int
    """Elements."""


class TensorView(NamedTuple):
    """A tensor as a view of a storage; all counts in elements."""

    storage: Storage
    """Where the numbers are."""
    offset: int
    """First element."""
    shape: tuple[int, ...]
    """Sizes of the axes."""
    strides: tuple[int, ...]
    """Steps of the axes."""


@dataclass(frozen=True)
class _Name:
    """A function or class that the file names: nothing but its name."""

    text: str


class _Refused(Exception):
    """The program asks for what a table of tensors does not need."""


_MARK = object()
_STORAGE = re.compile(r"torch\.(?:cuda\.)?(\w+)Storage")
_CALLABLE = (
    "collections.OrderedDict",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
)
_CONSTANTS = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
}
_VALUES = frozenset(  # opcodes that push the value written in the file
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT "
    "STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8".split()
)


def read_program(stream: Readable, *, where: str) -> Any:
    """Reads one program, and leaves the stream behind it.

    Args:
      stream: of bytes.
      where: the file, for messages.

    Returns:
      dicts, lists, tuples, texts, numbers, `Storage` and `TensorView`.

    Raises:
      UsageError: it names a function or class that a table of tensors does not need.
      LimbeckError: damaged, or not such a program.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(cast(Any, stream)):
            if opcode.name == "STOP":
                return machine.finish()
            machine.step(opcode.name, argument)
    except _Refused as refusal:
        raise UsageError(
            f"{where}: {refusal}, which no table of tensors needs and which could execute code; "
            "nothing was run; do not open this file with other tools, get the weights as "
            "safetensors"
        ) from None
    except (ValueError, TypeError, LookupError, OverflowError, MemoryError) as error:
        raise LimbeckError(
            f"{where}: damaged, or not a PyTorch checkpoint ({error}); fetch it again"
        ) from error
    raise LimbeckError(f"{where}: cut off in its table of tensors; fetch it again")


class _Machine:
    """Stack and memo of one program."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._effects: dict[str, Callable[[Any], None]] = {
            "PROTO": lambda _: None,
            "FRAME": lambda _: None,
            "MARK": lambda _: self._push(_MARK),
            "EMPTY_DICT": lambda _: self._push({}),
            "EMPTY_LIST": lambda _: self._push([]),
            "DICT": lambda _: self._push(_pairs(self._since_mark())),
            "LIST": lambda _: self._push(self._since_mark()),
            "TUPLE": lambda _: self._push(tuple(self._since_mark())),
            "TUPLE1": lambda _: self._push(tuple(self._take(1))),
            "TUPLE2": lambda _: self._push(tuple(self._take(2))),
            "TUPLE3": lambda _: self._push(tuple(self._take(3))),
            "SETITEM": lambda _: self._update(self._take(2)),
            "SETITEMS": lambda _: self._update(self._since_mark()),
            "APPEND": lambda _: self._extend(self._take(1)),
            "APPENDS": lambda _: self._extend(self._since_mark()),
            "GLOBAL": lambda text: self._push(_name(*text.split(" ", 1))),
            "STACK_GLOBAL": lambda _: self._push(_name(*self._take(2))),
            "REDUCE": lambda _: self._push(_call(*self._take(2))),
            "BUILD": lambda _: self._set_state(),
            "BINPERSID": lambda _: self._push(_storage(self._pop())),
            "MEMOIZE": lambda _: self._memo.update({len(self._memo): self._stack[-1]}),
        }

    def step(self, opcode: str, argument: Any) -> None:
        """Does what one operation says."""
        if opcode in _VALUES:
            self._push(argument)
        elif opcode in _CONSTANTS:
            self._push(_CONSTANTS[opcode])
        elif opcode in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self._stack[-1]
        elif opcode in ("GET", "BINGET", "LONG_BINGET"):
            self._push(self._memo[argument])
        elif opcode in self._effects:
            self._effects[opcode](argument)
        else:
            raise _Refused(f"uses the operation {opcode}")

    def finish(self) -> Any:
        """The program's one result."""
        (result,) = self._stack
        return result

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        return self._take(1)[0]

    def _take(self, number: int) -> list[Any]:
        values = self._stack[-number:]
        if len(values) < number or any(value is _MARK for value in values):
            raise ValueError("its stack is empty too early")
        del self._stack[-number:]
        return values

    def _since_mark(self) -> list[Any]:
        for index in range(len(self._stack) - 1, -1, -1):
            if self._stack[index] is _MARK:
                values = self._stack[index + 1 :]
                del self._stack[index:]
                return values
        raise ValueError("a mark is missing")

    def _update(self, items: list[Any]) -> None:
        if not isinstance(self._stack[-1], dict):
            raise ValueError("items of something that is no dict")
        self._stack[-1].update(_pairs(items))

    def _extend(self, items: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise ValueError("members of something that is no list")
        self._stack[-1].extend(items)

    def _set_state(self) -> None:
        # A state dict carries its modules' versions as an attribute; they are of no use here.
        self._pop()
        if not isinstance(self._stack[-1], dict):
            raise _Refused("sets the state of an object")


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(items[::2], items[1::2], strict=True))


def _name(module: Any, name: Any) -> _Name:
    text = f"{module}.{name}"
    if text not in _CALLABLE and not _STORAGE.fullmatch(text):
        raise _Refused(f"names {text[:200]!r}")
    return _Name(text)


def _call(function: Any, arguments: Any) -> Any:
    """What a call of one of the known names stands for."""
    if not isinstance(function, _Name) or not isinstance(arguments, tuple):
        raise ValueError("a call of what is no function")
    if function.text == "collections.OrderedDict":
        return dict(*arguments)
    if function.text == "torch._utils._rebuild_parameter":
        tensor = arguments[0]
        if not isinstance(tensor, TensorView):
            raise ValueError("a parameter that is no tensor")
        return tensor
    if function.text.startswith("torch._utils._rebuild_tensor"):
        return _tensor(*arguments[:4])
    raise _Refused(f"calls {function.text}")


def _storage(identity: Any) -> Storage:
    """(`storage`, type, key, device, size[, view]): the device plays no part."""
    tag, kind, key, _, size, *view = identity
    match = _STORAGE.fullmatch(kind.text) if isinstance(kind, _Name) else None
    if tag != "storage" or match is None:
        raise ValueError("a storage of an unknown kind")
    offset = 0
    if view and view[0] is not None:  # (key of the view, first element, elements)
        _, offset, size = view[0]
    return Storage(match[1], str(key), _count(offset), _count(size))


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> TensorView:
    if not isinstance(storage, Storage) or len(shape) != len(strides):
        raise ValueError("a tensor without a storage")
    return TensorView(
        storage, _count(offset), tuple(map(_count, shape)), tuple(map(_count, strides))
    )


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**62:
        raise ValueError(f"{value!r} as a number of elements")
    return value
