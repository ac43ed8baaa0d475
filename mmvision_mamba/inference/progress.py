"""The progress bar of inference, on stderr."""
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextmanager
def progress_bar(total: int | None, shown: bool) -> Iterator[Callable[[], None]]:
    """Show a bar within the context; yields a function that advances it by one frame.

    Args:
        total: number of frames; None: unknown.
        shown: False: there is no bar, and the function does nothing.
    """
    if not shown:
        yield lambda: None
        return
    with Progress(TextColumn('Inference'), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                  TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task('', total=total)
        yield lambda: progress.advance(task)
