"""The progress bar of inference, on stderr."""
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..printable import printable


@contextmanager
def progress_bar(total: int | None, shown: bool, title: str = 'Inference',
                 done: int = 0) -> Iterator[Callable[[], None]]:
    """Show a bar within the context; yields a function that advances it by one frame, or window of a picture.

    Args:
        total: number of them; None: unknown.
        shown: False: there is no bar, and the function does nothing.
        title: before the bar. Default: 'Inference'.
        done: how many are done already. Default: 0.
    """
    if not shown:
        yield lambda: None
        return
    with Progress(TextColumn('{task.description}', markup=False), BarColumn(), MofNCompleteColumn(),
                  TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(printable(title), total=total, completed=done)
        yield lambda: progress.advance(task)
