"""The report at the end of a training or a test; where it fails, a warning in one line is all."""
from pathlib import Path

from mmengine.dist import is_main_process

from ...printable import shown
from ...processes import warn_once


def record(runner) -> None:
    """Have a run keep what its report needs."""
    from ...report.recording import RecordingHook
    runner.register_hook(RecordingHook())


def report(work_dir: str) -> None:
    """Make the report of a run that has ended; prints its path."""
    if not is_main_process():
        return
    try:
        from ...report.making import make_report
        print(f'report: {shown(make_report(Path(work_dir)))}')
    except Exception as error:
        warn_once(f'no report is made: {shown(error) or type(error).__name__}')
