"""A bounded queue between two threads that ends, or fails, as a whole.

Whoever puts waits while the queue is full; whoever iterates gets everything that was put, then the
error of the other side if there was one. A side that gives up wakes the other at once.
"""

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["Pipe"]

T = TypeVar("T")


class Pipe(Generic[T]):
    """From one thread to another.

    Args:
      size: items that may wait in it.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: deque[T] = deque()
        self._is_ended = False
        self._is_left = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def put(self, item: T) -> bool:
        """Adds an item, once there is room; says whether the other side still takes any."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._items) < self._size or self._is_left)
            if not self._is_left:
                self._items.append(item)
                self._changed.notify_all()
            return not self._is_left

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more comes; with an error, what still waits is dropped and the reader gets it."""
        with self._changed:
            self._is_ended = True
            if error is not None and self._error is None:
                self._error = error
                self._items.clear()
            self._changed.notify_all()

    def leave(self) -> None:
        """Nothing more is taken; what was put is dropped."""
        with self._changed:
            self._is_left = True
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        """Yields items until the end.

        Raises:
          BaseException: the error that `end` was given.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._items) or self._is_ended)
                if not self._items:
                    if self._error is not None:
                        raise self._error
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item
