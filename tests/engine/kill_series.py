"""Train, kill, resume, over and over: kill_series.py FOLDER KILLS [SEED] prints a line of JSON.

Runs are forked from this process, which has everything imported, and end by SIGKILL: at random moments, while a
checkpoint is being saved (before, during and after the write), or while validating. After its share of kills a run is
left to end, and its weights must be those of a run that was never touched.
"""
import json
import os
import random
import select
import signal
import sys
import time
import traceback
from pathlib import Path

import torch
from mmengine.hooks import Hook

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.helpers.tiny_training import equal, runner, weights

AMP = dict(type='CPUAmpOptimWrapper', optimizer=dict(type='AdamW', lr=0.01))
EMA = [dict(type='EMAHook')]
VARIANTS = {
    'iterations': {},
    'ema': dict(hooks=EMA),
    'amp': dict(optim_wrapper=AMP),
    'epochs, ema': dict(by_epoch=True, hooks=EMA),
    'epochs, saved within, amp': dict(by_epoch=True, optim_wrapper=AMP, checkpoint=dict(by_epoch=False, interval=4)),
    'workers': dict(workers=2),
}
MODEL = dict(type='TinyModel', ballast=8)


class Stages(Hook):
    """Tells the parent what the run is about to do."""
    priority = 'VERY_HIGH'

    def __init__(self, pipe):
        self.pipe = pipe

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        os.write(self.pipe, b'i')

    def before_save_checkpoint(self, runner, checkpoint):
        os.write(self.pipe, b's')

    def before_val_epoch(self, runner):
        os.write(self.pipe, b'v')


def train(work_dir, pipe, options):
    run = runner(work_dir, model=MODEL, resume=True, **options)
    run.register_hook(Stages(pipe))
    run.train()
    torch.save(weights(run.model), Path(work_dir, 'weights'))


def start(work_dir, options):
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return child, reader
    code = 1
    try:
        os.close(reader)
        Path(work_dir).mkdir(parents=True, exist_ok=True)
        log = os.open(f'{work_dir}/output', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        train(work_dir, writer, options)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def kill(child, reader, stage, countdown) -> bool:
    """Wait for the `countdown`-th time the run enters `stage`, and a moment more, and kill it; False: it had ended."""
    while countdown > 0:
        select.select([reader], [], [])
        seen = os.read(reader, 1)
        if not seen:
            return False
        countdown -= seen == stage
    time.sleep(random.uniform(0, {b's': 0.06, b'v': 0.02, b'i': 0.01}[stage]))
    os.kill(child, signal.SIGKILL)
    return True


def series(folder: Path, kills: int) -> dict:
    result = dict(kills=0, during_save=0, during_validation=0, between=0, part_files_left=0, runs=0, lost=[])
    left = kills
    while left > 0:
        for name, options in VARIANTS.items():
            whole = folder / name
            if not (whole / 'weights').exists():
                child, reader = start(whole, options)
                while os.read(reader, 4096):
                    pass
                assert os.waitpid(child, 0)[1] == 0, (whole / 'output').read_text()
                os.close(reader)
            work_dir = folder / f'{name} {left}'
            result['runs'] += 1
            share = min(5, left)
            while True:
                child, reader = start(work_dir, options)
                killed = False
                if share > 0:
                    stage, countdown = random.choice([(b's', random.randint(1, 3)), (b's', 1), (b'v', 1),
                                                      (b'i', random.randint(1, 15))])
                    killed = kill(child, reader, stage, countdown)
                else:
                    while os.read(reader, 4096):
                        pass
                os.close(reader)
                status = os.waitpid(child, 0)[1]
                if os.WIFSIGNALED(status):
                    share -= 1
                    left -= 1
                    result['kills'] += 1
                    result[{b's': 'during_save', b'v': 'during_validation', b'i': 'between'}[stage]] += 1
                    result['part_files_left'] += len(list(work_dir.glob('*.part')))
                    continue
                if killed or status == 0:
                    break  # it ended before it could be killed
                result['lost'].append(f'{name}: {(work_dir / "output").read_text()[-2000:]}')
                break
            if not (work_dir / 'weights').exists() or not equal(torch.load(whole / 'weights'),
                                                                torch.load(work_dir / 'weights')):
                result['lost'].append(f'{name}: other weights')
            if left <= 0:
                break
    return result


if __name__ == '__main__':
    random.seed(int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    torch.set_num_threads(1)
    print(json.dumps(series(Path(sys.argv[1]), int(sys.argv[2]))))
