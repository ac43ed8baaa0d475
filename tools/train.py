#!/usr/bin/env python3
"""Train a model of any config: tools/train.py CONFIG [options]."""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from anywhere, installed or not

from mmvision_mamba.errors import ConfigError, MissingExtraError

try:
    from mmvision_mamba.engine import launch  # importing the package registers what configs name
    from mmvision_mamba.engine.auto_batch import use_largest_batch
    from mmvision_mamba.engine.restart import use_resume
    from mmvision_mamba.engine.vis_backends import use_vis_backends
except MissingExtraError as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(2)


def parse_args():
    parser = argparse.ArgumentParser(description='Train a detector, a segmentor or a classifier.')
    parser.add_argument('config', help='config file')
    launch.add_common_options(parser)
    parser.add_argument('--resume', nargs='?', const='auto', metavar='CKPT',
                        help='resume from CKPT, or, without a value, from the latest checkpoint in the work dir')
    parser.add_argument('--amp', action='store_true',
                        help='mixed precision: float16 with loss scaling on a GPU, bfloat16 on a CPU')
    parser.add_argument('--auto-scale-lr', action='store_true',
                        help="scale the learning rate by the real batch size over the config's base_batch_size")
    parser.add_argument('--auto-batch', nargs='?', type=int, const=0, metavar='MOST',
                        help='train with the largest batch per process that fits into memory, MOST images at most, and '
                        'scale the learning rate to it as --auto-scale-lr does')
    parser.add_argument('--no-pretrained', action='store_true', help='train the backbone from scratch')
    parser.add_argument('--on-divergence', choices=['stop', 'rollback', 'skip'],
                        help='when loss or gradients are not finite, or the loss explodes: stop with exit code 2; roll '
                        'back to the last good checkpoint with half the learning rate; or skip the batch. Its images '
                        'are named in WORK_DIR/divergence. Default: stop')
    parser.add_argument('--deterministic', action='store_true',
                        help="the same weights bit for bit each time; the seed is the config's randomness.seed, or 0")
    parser.add_argument('--vis', metavar='LIST',
                        help='where curves go beside scalars.json: tensorboard, wandb, with a comma between; local: '
                        'nowhere else; none: not even there. None of them can stop the training. Default: '
                        "tensorboard, where installed, and what the config's visualizer names")
    return launch.parse_args(parser)


def main():
    args = parse_args()
    with launch.user_errors() as job:
        cfg = launch.load_config(args, 'train_dataloader')
        if args.auto_scale_lr:
            if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
                raise ConfigError(f"--auto-scale-lr: {args.config} has no auto_scale_lr = dict(base_batch_size=…)")
            cfg.auto_scale_lr.enable = True
        if args.no_pretrained:
            cfg.model.backbone.init_cfg = None
            cfg.model.backbone.pop('pretrained', None)
        if args.deterministic:
            launch.make_deterministic(cfg)
        use_resume(cfg, args.resume)
        cfg.setdefault('default_hooks', {}).setdefault('checkpoint', dict(type='CheckpointHook')) \
            .setdefault('save_best', 'auto')
        launch.add_hooks(cfg, dict(type='DivergenceHook'), dict(type='PreemptionHook'),
                         dict(type='CheckpointFitHook', strict=bool(cfg.get('resume'))))
        if args.on_divergence:
            next(hook for hook in cfg.custom_hooks if hook['type'] == 'DivergenceHook')['action'] = args.on_divergence
        use_vis_backends(cfg, args.vis)
        launch.prepare_device(cfg, args.amp)
        launch.prepare_data(cfg, ('train', 'val'), args.skip_bad_images)
        if args.auto_batch is not None:
            use_largest_batch(cfg, args.auto_batch or None)
        job.work_dir = cfg.work_dir
        job.runner = launch.build_runner(cfg)
        job.runner.train()


if __name__ == '__main__':
    main()
