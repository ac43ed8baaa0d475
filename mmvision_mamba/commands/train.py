"""Train a detector, a segmentor or a classifier.

Writes logs, checkpoints and the config to WORK_DIR. In the place of a config a folder of data will do: what lies in it
chooses the model and the settings; they are printed as a command, and what you set yourself stays.
"""
import argparse
import contextlib

from ..errors import ConfigError
from ..processes import print_once, was_restarted
from .errors import removing_failed_start
from .options import add_common_options, add_no_report, add_task, is_data


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', metavar='CONFIG|FOLDER', help='config file, or a folder of data')
    add_common_options(parser)
    add_task(parser)
    parser.add_argument('--resume', nargs='?', const='auto', metavar='CKPT',
                        help='resume from CKPT, or, without a value, from the newest intact checkpoint in the work dir')
    parser.add_argument('--new-schedule', action='store_true',
                        help="with --resume: take schedule, learning rate and the optimizer's other settings from the "
                        'config, such as those for more epochs, and weights and moments from the checkpoint')
    parser.add_argument('--val-loss', action='store_true',
                        help='compute the training losses of the validation set, too: val/loss and its parts')
    parser.add_argument('--monitor', metavar='METRIC',
                        help='what the best checkpoint and --patience go by, such as coco/segm_mAP or val/loss; '
                        "default: the config's save_best, or the first metric of the validation")
    parser.add_argument('--patience', type=int, metavar='N',
                        help='stop after N validations in a row without a better one')
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
                        help='where curves go, comma-separated: tensorboard, wandb, mlflow, clearml, dvclive, aim, '
                        'neptune, comet; local: scalars.json alone; none: '
                        "nothing. A failing backend doesn't stop training. Default: tensorboard, where installed, and "
                        "what the config's visualizer names")
    add_no_report(parser)


def run(args: argparse.Namespace) -> None:
    from ..datasets.coco_files import reading_once
    from .steps.named_images import naming_images
    from .steps.prepare import build_runner, load_config
    from .steps.reporting import record, report
    from .steps.restart import keep_bands

    with contextlib.ExitStack() as held:
        from_folder = _use_folder(args, held)
        held.enter_context(reading_once())
        keep_bands(args)
        cfg = load_config(args, 'train_dataloader')
        with removing_failed_start(cfg.work_dir, alone=True) as start:
            begin_from = _prepare(cfg, args)
            start.runner = build_runner(cfg)
            start.runner.begin_from = begin_from
            if not args.no_report:
                record(start.runner)
            start.runner.new_schedule = args.new_schedule
            with naming_images(start.runner):
                start.runner.train()
        if not args.no_report:
            report(cfg.work_dir)
    if from_folder:
        from .steps.folder import how_to_use
        if lines := how_to_use(cfg.work_dir):
            print_once(lines)


def _use_folder(args: argparse.Namespace, held: contextlib.ExitStack) -> bool:
    """Put what a folder stands for in the place of it, and print that; False where `args.config` is a config.

    A run's folder into which a validation split is written stays held on `held`.
    """
    if not is_data(args):
        return False
    from .steps.folder import plan, tell
    folder, task = args.config, args.task
    resume = args.resume is not None or was_restarted()
    planned = plan(folder, args.cfg_options, task, args.work_dir, resume, held)
    args.config, args.cfg_options, args.work_dir, args.task = planned.config, planned.options, planned.work_dir, None
    if args.auto_batch is None:
        args.auto_batch = planned.most_per_batch
    parser = argparse.ArgumentParser()
    add_options(parser)
    tell(planned, folder, {name: value for name, value in vars(args).items() if value != parser.get_default(name)
                           and name not in ('config', 'cfg_options', 'work_dir', 'local_rank')})
    return True


def _prepare(cfg, args: argparse.Namespace) -> str | None:
    """Change the config as the options say, and check it and its data; returns what `use_resume` does."""
    from ..engine.vis_backends import use_vis_backends
    from ..preflight.pretrained import drop_pretrained
    from .steps.auto_batch import use_largest_batch
    from .steps.prepare import add_hooks, make_deterministic, prepare_data, prepare_device
    from .steps.restart import use_resume
    from .steps.stopping import check_val_loss, use_stopping

    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise ConfigError(f"--auto-scale-lr: {args.config} has no auto_scale_lr = dict(base_batch_size=…)")
        cfg.auto_scale_lr.enable = True
    if args.no_pretrained:
        drop_pretrained(cfg.model)
    if args.deterministic:
        make_deterministic(cfg)
    begin_from = use_resume(cfg, args.resume)
    if args.new_schedule and not cfg.get('resume'):
        raise ConfigError('--new-schedule goes with --resume: a training that begins has the schedule of its config')
    cfg.setdefault('default_hooks', {}).setdefault('checkpoint', dict(type='CheckpointHook')) \
        .setdefault('save_best', 'auto')
    add_hooks(cfg, dict(type='DivergenceHook'), dict(type='PreemptionHook'),
              dict(type='CheckpointFitHook', strict=bool(cfg.get('resume'))))
    use_stopping(cfg, args.val_loss, args.monitor, args.patience)
    if args.on_divergence:
        next(hook for hook in cfg.custom_hooks if hook['type'] == 'DivergenceHook')['action'] = args.on_divergence
    use_vis_backends(cfg, args.vis)
    prepare_device(cfg, args.amp)
    prepare_data(cfg, ('train', 'val'), args.skip_bad_images)
    check_val_loss(cfg)
    if args.auto_batch is not None:
        use_largest_batch(cfg, args.auto_batch or None)
    return begin_from
