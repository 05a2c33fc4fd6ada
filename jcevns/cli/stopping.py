"""Ctrl-C and SIGTERM, at whatever moment they come: one line and exit code 130."""

import signal
import threading
from types import FrameType

__all__ = ["stop_cleanly"]

_AGAIN = 0.05  # seconds
_LOST = ("__del__", "_xla_gc_callback")  # functions whose exceptions Python or JAX ignores


def stop_cleanly() -> None:
    """Let both signals raise KeyboardInterrupt, later where it would be lost or do harm.

    Modules written in C take an exception while they are imported for an error of their own, or abort; in a callback
    of the garbage collector it is ignored, and the command would go on. Elsewhere it unwinds what is open, so that no
    partial file is left.
    """
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, *_timer()):
            signal.signal(number, _stop)


def _timer() -> tuple[int, ...]:
    return (signal.SIGALRM,) if hasattr(signal, "setitimer") else ()  # not on Windows


def _stop(_: int, frame: FrameType | None) -> None:
    if _timer() and _must_wait(frame):
        signal.setitimer(signal.ITIMER_REAL, _AGAIN)
        return
    raise KeyboardInterrupt


def _must_wait(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name in _LOST or frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
