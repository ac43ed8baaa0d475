"""A bar on a terminal, a line elsewhere, and nothing for small files."""
import io

import pytest

from mmvision_mamba.checkpoints.progress import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(('stream', 'size', 'quiet', 'expected'), [
    (io.StringIO, 60_000_000, False, 'Downloading w\\x1b[0m.bin (60 MB)\n'), (io.StringIO, 3000, False, ''),
    (io.StringIO, None, False, ''), (io.StringIO, 60_000_000, True, ''), (Terminal, 60_000_000, True, '')])
def test_what_is_shown_at_once(monkeypatch, stream, size, quiet, expected):
    monkeypatch.setattr('sys.stderr', stream())
    with progress('w\x1b[0m.bin', quiet) as report:
        report(1000, size)
        report(2000, size)
        import sys
        assert sys.stderr.getvalue() == expected


def test_one_bar_that_goes_on_from_what_was_there(monkeypatch):
    import sys
    import time
    monkeypatch.setattr('sys.stderr', Terminal())
    with progress('w.bin') as report:
        report(30_000_000, 60_000_000)
        time.sleep(0.6)
        report(60_000_000, 60_000_000)
    shown = sys.stderr.getvalue()
    assert '100%' in shown and '60.0M/60.0M' in shown and shown.count('\n') == 1 and '\r' in shown
