"""Train a detector, a segmentor or a classifier.

Writes logs, checkpoints and the config to WORK_DIR.
"""
import argparse

from ..errors import ConfigError
from .errors import removing_failed_start
from .options import add_common_options


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='config file')
    add_common_options(parser)
    parser.add_argument('--resume', nargs='?', const='auto', metavar='CKPT',
                        help='resume from CKPT, or, without a value, from the newest intact checkpoint in the work dir')
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
                        help='where curves go, comma-separated: tensorboard, wandb; local: scalars.json alone; none: '
                        "nothing. A failing backend doesn't stop training. Default: tensorboard, where installed, and "
                        "what the config's visualizer names")


def run(args: argparse.Namespace) -> None:
    from .steps.named_images import naming_images
    from .steps.prepare import build_runner, load_config

    cfg = load_config(args, 'train_dataloader')
    with removing_failed_start(cfg.work_dir, alone=True) as start:
        _prepare(cfg, args)
        start.runner = build_runner(cfg)
        with naming_images(start.runner):
            start.runner.train()


def _prepare(cfg, args: argparse.Namespace) -> None:
    """Change the config as the options say, and check it and its data."""
    from ..engine.vis_backends import use_vis_backends
    from ..preflight.pretrained import drop_pretrained
    from .steps.auto_batch import use_largest_batch
    from .steps.prepare import add_hooks, make_deterministic, prepare_data, prepare_device
    from .steps.restart import use_resume

    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise ConfigError(f"--auto-scale-lr: {args.config} has no auto_scale_lr = dict(base_batch_size=…)")
        cfg.auto_scale_lr.enable = True
    if args.no_pretrained:
        drop_pretrained(cfg.model)
    if args.deterministic:
        make_deterministic(cfg)
    use_resume(cfg, args.resume)
    cfg.setdefault('default_hooks', {}).setdefault('checkpoint', dict(type='CheckpointHook')) \
        .setdefault('save_best', 'auto')
    add_hooks(cfg, dict(type='DivergenceHook'), dict(type='PreemptionHook'),
              dict(type='CheckpointFitHook', strict=bool(cfg.get('resume'))))
    if args.on_divergence:
        next(hook for hook in cfg.custom_hooks if hook['type'] == 'DivergenceHook')['action'] = args.on_divergence
    use_vis_backends(cfg, args.vis)
    prepare_device(cfg, args.amp)
    prepare_data(cfg, ('train', 'val'), args.skip_bad_images)
    if args.auto_batch is not None:
        use_largest_batch(cfg, args.auto_batch or None)
