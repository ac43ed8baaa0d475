"""A worker of torchrun: records detections of its share of seven images, with a failure in process 1 and without.

The main process prints what it says, and of how many images the analysis is.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from mmengine.dist import get_rank

from tests.helpers.evaluations import detections, recorder


def images_of(record, samples) -> int | None:
    """Images of the analysis; the last process takes the first image, too, as mmengine's sampler has it."""
    record.process({}, [*samples, samples[0]][get_rank()::2])
    record.evaluate(len(samples))
    return record.content and record.content['analysis']['images']


if __name__ == '__main__':
    torch.distributed.init_process_group('gloo')
    dataset, samples = detections(images=7)
    broken = [dict(sample, pred_instances=dict(sample['pred_instances'], bboxes='?')) if i == 1 else sample
              for i, sample in enumerate(samples)]
    said: list[str] = []
    record = recorder(dataset, said.append)
    counts = [images_of(record, some) for some in (broken, samples)]
    if get_rank() == 0:
        print(counts, said, flush=True)
    torch.distributed.destroy_process_group()
