# SPDX-License-Identifier: GPL-2.0
"""Prints one line per stage on stderr, with its time, and a bar on a terminal.

    ✓ kernel objects          4m52s
    ✓ link tcp-echo           cached

Without a terminal, a long stage prints its progress as a line every PLAIN_INTERVAL seconds. A
thread sees to stages that report nothing themselves.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

WIDTH = 34
"""Columns of a stage's title."""

PLAIN_INTERVAL = 15.0
"""Seconds between two progress lines of a stage, without a terminal."""

BAR_DELAY = 0.3
"""Seconds after which the bar of a stage is drawn."""

PULSE = 5.0
"""Seconds between two looks at a stage, without a terminal."""


def duration(seconds: float) -> str:
    """Return a time in readable form: `0.4s`, `12s`, `4m52s`, `1h03m`."""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"


class Stage:
    """A stage that is running; `Progress.stage` makes it."""

    def __init__(self, progress: Progress, title: str) -> None:
        self._progress = progress
        self.title = title
        self.begin = time.monotonic()
        self.outcome = ""
        self._last_plain = self.begin
        self._reported = ""
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._pulse = threading.Thread(target=self._beat, daemon=True)

    def update(self, done: int, total: int | None, note: str = "") -> None:
        """Report progress: `done` of `total` (None: unknown), in any unit."""
        if self._progress.is_quiet:
            return
        with self._lock:
            if self._progress.is_terminal:
                self._draw(done, total, note)
            else:
                share = f"{100 * done // total}%" if total else str(done)
                self._reported = f"{share} {note}"
                self._plain(self._reported)

    def note(self, text: str) -> None:
        """Print a permanent line, above the bar."""
        self._progress.line(f"  {text}")

    def result(self, text: str) -> None:
        """Set the text shown at the end, unless one is already set."""
        self.outcome = self.outcome or text

    def cached(self) -> None:
        """Show at the end that the result came from the cache."""
        self.outcome = "cached"

    def _plain(self, text: str) -> None:
        now = time.monotonic()
        if now - self._last_plain >= PLAIN_INTERVAL:
            self._last_plain = now
            self._progress.line(f"  {self.title}: {text}".rstrip())

    def start(self) -> None:
        """Begin to show that the stage runs."""
        if not self._progress.is_quiet:
            self._pulse.start()

    def stop(self) -> None:
        """Show nothing more, and remove the bar from the terminal."""
        self._ended.set()
        if self._pulse.is_alive():
            self._pulse.join()
        self.erase()

    def _beat(self) -> None:
        """Show a stage that does not report how far it is; runs in a thread of its own.

        Without a terminal, repeat what it has reported last.
        """
        is_terminal = self._progress.is_terminal
        while not self._ended.wait(BAR_DELAY if is_terminal else PULSE):
            with self._lock:
                if not is_terminal:
                    self._plain(self._reported or duration(time.monotonic() - self.begin))
                elif self._bar is None:
                    self._draw(0, None, "")
                else:  # the bar shows the time by itself
                    return

    def _draw(self, done: int, total: int | None, note: str) -> None:
        if self._bar is None:
            if time.monotonic() - self.begin < BAR_DELAY:
                return
            self._bar = self._progress.bar()
            self._task = self._bar.add_task(self.title, total=total, note=note)
            self._bar.start()
        if self._task is not None:
            self._bar.update(self._task, completed=done, total=total, note=note)

    def erase(self) -> None:
        """Remove the bar from the terminal."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class Progress:
    """Prints the stages of an operation to `stream` (stderr unless given)."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self._stream = stream
        self.is_quiet = quiet
        self._shown = False

    @classmethod
    def quiet(cls) -> Progress:
        """Return an instance that prints nothing (tests, `--quiet`)."""
        return cls(quiet=True)

    @property
    def stream(self) -> TextIO:
        """Where lines go; looked up late, because a bar replaces sys.stderr temporarily."""
        return self._stream or sys.stderr

    @property
    def is_terminal(self) -> bool:
        """Whether a bar may be drawn."""
        return not self.is_quiet and self.stream.isatty()

    @contextlib.contextmanager
    def stage(self, title: str) -> Iterator[Stage]:
        """Run the block as a stage: print its line at the end, with `×` if it raised."""
        stage = Stage(self, title)
        if self.is_terminal:
            self._show(f"… {title}")
        stage.start()
        try:
            yield stage
        except BaseException as error:
            stage.stop()
            interrupted = not isinstance(error, Exception)
            self._finish(stage, "×", "interrupted" if interrupted else "failed")
            raise
        stage.stop()
        self._finish(stage, "✓", stage.outcome)

    def line(self, text: str) -> None:
        """Print a permanent line."""
        if self.is_quiet:
            return
        self._clear()
        with contextlib.suppress(BrokenPipeError):
            print(self._encodable(text), file=self.stream, flush=True)

    def bar(self) -> RichProgress:
        """Return a rich progress bar that is not started yet."""
        from rich.console import Console  # noqa: PLC0415 - 60 ms that most runs do not need
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            Progress,
            SpinnerColumn,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
        )

        self._clear()
        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=Console(file=self.stream),
            transient=True,
        )

    def _finish(self, stage: Stage, mark: str, outcome: str) -> None:
        seconds = duration(time.monotonic() - stage.begin)
        column = outcome if outcome == "cached" else f"{seconds:>6}  {outcome}".rstrip()
        self.line(f"{mark} {stage.title:<{WIDTH}} {column}".rstrip())

    def _show(self, text: str) -> None:
        self._stream_write(f"\r\x1b[K{text}")
        self._shown = True

    def _clear(self) -> None:
        if self._shown:
            self._stream_write("\r\x1b[K")
            self._shown = False

    def _stream_write(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.stream.write(self._encodable(text))
            self.stream.flush()

    def _encodable(self, text: str) -> str:
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            plain = text.replace("✓", "+").replace("×", "!").replace("…", "...")
            return plain.encode(encoding, "replace").decode(encoding)
        return text
