"""How far a download or upload is: a bar on a terminal, elsewhere a line as a large one begins."""
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..printable import shown

_LARGE = 10**7  # bytes


@contextmanager
def progress(name: str, quiet: bool = False, verb: str = 'Downloading') -> Iterator[Callable[[int, int | None], None]]:
    """What `downloads.save` reports to; goes to stderr.

    Args:
        name: of the file.
        quiet: show nothing. Default: False.
        verb: what is done with it. Default: 'Downloading'.
    """
    from tqdm import tqdm  # not for --help
    bar = None

    def report(count: int, total: int | None) -> None:
        nonlocal bar
        if bar is None:
            # Small files are there before the delay is over.
            bar = tqdm(total=total, initial=count, desc=shown(name, 40), unit='B', unit_scale=True, delay=0.5,
                       disable=quiet or None, dynamic_ncols=True)
            if not quiet and bar.disable and (total or 0) >= _LARGE:
                print(f'{verb} {shown(name)} ({(total or 0) / 1e6:.0f} MB)', file=sys.stderr, flush=True)
        bar.update(count - bar.n)
    try:
        yield report
    finally:
        if bar is not None:
            bar.close()
