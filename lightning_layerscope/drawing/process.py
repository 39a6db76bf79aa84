"""The side that trains: starts the drawing process, asks it, and waits for it only where it is told to."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lightning_layerscope.drawing.passing import PASSING, Drawn, pictures_file, read_page, read_pictures

SECONDS_BETWEEN_LOOKS = 0.02

ERRORS = "errors.txt"
"""What the process says before it dies."""

_CODE = """
import os, signal, sys
parent = os.getppid()  # before anything that takes time: whose end ends this process
signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that trains, which says what becomes of this
sys.path[:] = [folder for folder in sys.path if folder]  # nothing is imported from where the run was started
import json
job = json.loads(sys.stdin.readline())
sys.path[:] = job.pop("path")
from lightning_layerscope.drawing.worker import main
main(**job, parent=parent)
"""
"""A fresh interpreter with this one's search path: a fork would copy locks, threads and a GPU's state."""

_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "HIP_VISIBLE_DEVICES": "",
    "MPLBACKEND": "Agg",
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
}


class DrawingStoppedError(RuntimeError):
    """The drawing process has ended, or takes no further requests."""


class DrawingProcess:
    """Draws the pictures and the report of one run, outside of the process that trains.

    Args:
        folder: Of the run; what is to be drawn lies there when it is asked for.

    Raises:
        OSError: When no process can be started; nothing of it is left then.
        DrawingStoppedError: When it has ended at once.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._passing = Path(tempfile.mkdtemp(prefix=PASSING, dir=folder.absolute()))
        self._page_request = self._requests = 0
        try:
            self._process = self._start()
        except BaseException:
            shutil.rmtree(self._passing, ignore_errors=True)
            raise
        assert self._process.stdin is not None
        self._pipe = self._process.stdin
        try:
            if os.name == "posix":
                os.set_blocking(self._pipe.fileno(), False)
            self._send({"path": sys.path, "folder": str(folder.absolute()), "passing": str(self._passing)})
        except BaseException:
            self.close()
            raise

    def ask(self, step: int, *, pictures: bool, report: bool) -> None:
        """Ask for the pictures of a step, or for a report of all measurements so far. Takes no time.

        Raises:
            DrawingStoppedError: When the process takes no requests any more.
        """
        self._requests += 1
        if report:
            self._page_request = self._requests
        self._send({"request": self._requests, "step": step, "pictures": pictures, "report": report})

    def has_pictures(self, step: int) -> bool:
        """Whether the pictures of a step are there."""
        return pictures_file(self._passing, step).is_file()

    def pictures(self, step: int) -> Drawn | None:
        """The pictures of a step; None where they are not drawn yet."""
        return read_pictures(self._passing, step)

    def discard(self, step: int) -> None:
        """Remove pictures that were logged."""
        pictures_file(self._passing, step).unlink(missing_ok=True)

    def page(self) -> tuple[bool, str]:
        """Whether the newest report that was asked for has been made, and what went wrong with the last one."""
        answered, error = read_page(self._passing)
        return answered >= self._page_request, error

    def check(self) -> None:
        """Raise where the process has ended.

        Raises:
            DrawingStoppedError: With the last words of the process.
        """
        code = self._process.poll()
        if code is not None:
            raise DrawingStoppedError(f"the process that draws has ended (exit status {code}){self._last_words()}")

    def wait(self, steps: list[int], seconds: float) -> bool:
        """Wait until the pictures of these steps and the newest report are there, at most this long.

        Nothing else is left to do meanwhile: the process gets the priority of this one, where the system allows it.

        Returns:
            Whether all is there.

        Raises:
            DrawingStoppedError: When the process has ended before.
        """
        deadline = time.monotonic() + seconds
        self._hurry()
        while not (self.page()[0] and all(self.has_pictures(step) for step in steps)):
            self.check()
            if time.monotonic() > deadline:
                return False
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return True

    def close(self) -> None:
        """End the process and remove what it has handed over."""
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):  # requests that the process did not take
            self._pipe.close()
        shutil.rmtree(self._passing, ignore_errors=True)
        for unfinished in self.folder.glob(".report.html.*"):
            unfinished.unlink(missing_ok=True)

    def _start(self) -> subprocess.Popen[bytes]:
        with (self._passing / ERRORS).open("wb") as errors:
            return subprocess.Popen(
                [sys.executable, "-c", _CODE],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, **_ENVIRONMENT},
            )

    def _send(self, message: dict[str, object]) -> None:
        self.check()
        try:
            self._pipe.write(json.dumps(message).encode() + b"\n")
            self._pipe.flush()
        except OSError as error:  # a full pipe included: the process has taken nothing for long
            said = f"the process that draws takes no requests ({error}){self._last_words()}"
            raise DrawingStoppedError(said) from error

    def _hurry(self) -> None:
        if hasattr(os, "setpriority"):
            with contextlib.suppress(OSError):  # not allowed here, or it has ended
                os.setpriority(os.PRIO_PROCESS, self._process.pid, os.getpriority(os.PRIO_PROCESS, 0))

    def _last_words(self) -> str:
        try:
            lines = (self._passing / ERRORS).read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return ""
        said = [line.strip() for line in lines if line.strip()]
        return f": {said[-1]}" if said else ""
