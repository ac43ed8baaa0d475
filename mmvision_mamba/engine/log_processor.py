"""Log lines that say in words how fast a run is, what memory it takes and when it will be done."""
import math
from typing import Any

from mmengine.dist import get_world_size
from mmengine.registry import LOG_PROCESSORS
from mmengine.runner import LogProcessor

from ..processes import peak_memory
from ..text import duration

SPEED = 'images_per_second'


@LOG_PROCESSORS.register_module()
class SpeedLogProcessor(LogProcessor):
    """mmengine's `LogProcessor`, whose lines end with images per second, memory and the time that is left, in words.

    Before that a line is mmengine's own. What is recorded gets `images_per_second`, over all processes and as smooth as
    `time`, and on a CPU `memory` as on a GPU: of this process, in MiB, the most so far. `MambaVisionRunner` builds this
    class for configs that say `LogProcessor`.
    """

    def get_log_after_iter(self, runner: Any, batch_idx: int, mode: str) -> tuple[dict, str]:
        tag, line = super().get_log_after_iter(runner, batch_idx, mode)
        seconds = tag.get('time', tag.get(f'{mode}/time'))
        said = []
        if isinstance(seconds, float) and seconds > 0:
            loader = getattr(runner, f'{mode}_dataloader')
            images = getattr(loader, 'images_per_batch', None) or loader.batch_size or 1
            tag[SPEED] = images * get_world_size() / seconds
            said.append(f'{tag[SPEED]:.{1 if tag[SPEED] >= 1 else 3}f} images/s')
        if 'memory' not in tag and (used := peak_memory()) is not None:
            tag['memory'] = used // 2**20
        if 'memory' in tag:
            said.append(f'{tag["memory"] / 1024:.1f} GiB of memory')
        eta = runner.message_hub.runtime_info.get('eta')
        if isinstance(eta, int | float) and math.isfinite(eta):
            said.append(f'{duration(eta)} left')
        return tag, f'{line.rstrip()}  {", ".join(said)}'.rstrip()
