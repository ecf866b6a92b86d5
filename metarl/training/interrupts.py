"""Ctrl-C and SIGTERM as a request to stop after the current iteration."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class StopRequest:
    """While entered, the first SIGINT or SIGTERM only sets `signal_number`.

    A second one acts as it would have without us, for those who cannot wait. Outside the main
    thread, where Python takes no handlers, signals act as before.

    Args:
        announce: tells the user that the request was heard; called once, in a thread of its own.
    """

    def __init__(self, announce: Callable[[], None] | None = None) -> None:
        self.signal_number: int | None = None
        # A handler may interrupt a print, which it must not enter again; a thread waits for it.
        self._announcement = threading.Thread(target=announce, daemon=True) if announce else None
        self._previous: dict[int, Any] = {}

    def __bool__(self) -> bool:
        return self.signal_number is not None

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()
        if self._announcement and self._announcement.is_alive():
            self._announcement.join()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = number
        self._restore()
        if self._announcement:
            self._announcement.start()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
