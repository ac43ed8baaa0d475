"""What a report is about: all that a run left in its folder."""
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..checkpoints.resuming import POINTER
from ..errors import DataError
from ..files import read_text
from ..printable import printable, shown
from ..visualization.curves import Run, read_run
from . import kept

_MOST_CONFIG = 2**20  # characters of a config
NO_EVALUATION = ('No evaluation was recorded. `mmvision-mamba test CONFIG CHECKPOINT --work-dir WORK_DIR` records one, '
                 'and makes this report anew.')


@dataclass
class Gathered:
    """What a run's folder tells.

    Attributes:
        folder: the run's.
        name: its name.
        curves: the logged values; None without any.
        evaluation: of `kept.read_evaluation`, the latest of a test's and a training's; None without any.
        run: of `kept.read_run`; None without it.
        metrics: of the last test; None without it.
        config: its text; '' without it.
    """
    folder: Path
    name: str
    curves: Run | None = None
    evaluation: dict[str, Any] | None = None
    run: dict[str, Any] | None = None
    metrics: dict[str, float | None] | None = None
    config: str = ''
    notes: list[str] = field(default_factory=list)

    @property
    def analysis(self) -> dict[str, Any] | None:
        return None if self.evaluation is None else self.evaluation['analysis']

    @property
    def classes(self) -> list[str] | None:
        """Names of the classes, where they are known."""
        if self.analysis is not None:
            return [one['name'] for one in self.analysis['classes']]
        of_data = next((split['classes'] for split in (self.run or {}).get('data', {}).values() if split['classes']),
                       None)
        return None if of_data is None else [one['name'] for one in of_data]


def gather_run(folder: Path) -> Gathered:
    """Read what a run left.

    Raises:
        DataError: it is no folder of a run, or one of its files is broken.
    """
    if not folder.is_dir():
        raise DataError(f"'{shown(folder)}': no such folder; expected the work directory of a run")
    found = Gathered(folder, folder.resolve().name)
    found.evaluation = max((one for one in (kept.read_evaluation(folder / 'report' / f'{name}.json')
                                            for name in kept.EVALUATIONS.values()) if one is not None),
                           key=lambda one: one['time'], default=None)
    found.run = kept.read_run(folder / 'report/run.json')
    found.metrics = kept.read_metrics(folder / 'metrics.json')
    try:
        found.curves = read_run(folder)
    except DataError as error:
        if found.evaluation is None and found.metrics is None:
            raise
        if any(folder.glob('*/vis_data/scalars.json')) and found.run is not None:
            found.notes.append(printable(str(error)).splitlines()[0])
    found.config = _config(folder)
    return found


def _config(folder: Path) -> str:
    """The text of the config that a run wrote to its folder, the newest; '' without any."""
    try:
        files = [path for path in folder.iterdir() if path.suffix in ('.py', '.json', '.yaml', '.yml')
                 and path.name not in ('metrics.json', POINTER) and path.is_file()]
        newest = max(files, key=lambda path: path.stat().st_mtime, default=None)
        return '' if newest is None else read_text(newest, 16 * _MOST_CONFIG)[:_MOST_CONFIG]
    except (OSError, UnicodeError):
        return ''
