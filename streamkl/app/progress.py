"""Progress: a bar on standard error while a file is read - on a terminal only.

Rule: elsewhere this costs nothing; rich is not even imported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from streamkl.app.label import label

if TYPE_CHECKING:
    import rich.progress

NAME_LENGTH, BAR_WIDTH = 20, 12  # with bytes, rows and the time that remains: 80 columns


class Progress:
    """A context in which `show` moves the bar; it vanishes at the end."""

    def __init__(self, name: str, is_wanted: bool = True) -> None:
        self._name = label(name, NAME_LENGTH)
        self._is_wanted = is_wanted
        self._bar: rich.progress.Progress | None = None
        self._task: rich.progress.TaskID | None = None

    def __enter__(self) -> Progress:
        if self._is_wanted and sys.stderr.isatty():
            self._bar = _bar()
            self._task = self._bar.add_task(self._name, total=None, rows=0, size="")
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Return a context without the bar, in which lines may go to the same terminal."""
        if self._bar is None or not sys.stdout.isatty():
            yield
            return
        self._bar.stop()
        yield
        self._bar.start()

    def show(self, done_bytes: int, total_bytes: int | None, rows: int) -> None:
        """Move the bar; total_bytes None: unknown."""
        if self._bar is not None and self._task is not None:
            size = _size(done_bytes) if total_bytes is None else f"{_size(done_bytes)} of {_size(total_bytes)}"
            self._bar.update(self._task, completed=done_bytes, total=total_bytes, rows=rows, size=size)


def _bar() -> rich.progress.Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(BAR_WIDTH),
        TextColumn("{task.fields[size]}"),
        TextColumn("{task.fields[rows]:,} rows"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False)


def _size(number: int) -> str:
    """Return a number of bytes.

    >>> _size(512), _size(1_234_567), _size(3 * 10**12)
    ('512 B', '1.2 MB', '3.0 TB')
    """
    size = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
