"""The command-line options that several commands share."""
import argparse

from ..errors import MissingExtraError


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """The options of train, test and confusion, named as in mmdet and mmseg."""
    parser.add_argument('--work-dir', help='where logs, checkpoints and metrics go; default: work_dirs/CONFIG_NAME')
    add_cfg_options(parser)
    parser.add_argument('--skip-bad-images', action='store_true',
                        help='read every image first, and leave out and count those that are missing, truncated or not '
                        'images; without it the first such image stops the run')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    # torch.distributed.launch passes it; torchrun sets the environment variable.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """The option --cfg-options; see `read_config`."""
    parser.add_argument('--cfg-options', nargs='+', action=_Overrides, metavar='KEY=VALUE',
                        help='override settings of the config; data_root=DIR moves every path below the old data_root. '
                        'Lists: key="[a,b]" or key=a,b; nested: key="[(a,b),(c,d)]", without white space')


class _Overrides(argparse.Action):
    """mmengine's `DictAction`, but it keeps the white space in strings such as paths."""

    def __call__(self, parser, namespace, values, option_string=None):
        try:
            from mmengine.config import DictAction  # imports torch: not for --help
        except ImportError:
            raise MissingExtraError('--cfg-options', 'openmmlab') from None
        try:
            DictAction(self.option_strings, self.dest)(parser, namespace, values, option_string)
        except (ValueError, AssertionError) as error:
            raise argparse.ArgumentError(None, f'--cfg-options takes KEY=VALUE pairs ({error})') from error
        options = getattr(namespace, self.dest)
        for key, _, value in (item.partition('=') for item in values):
            if isinstance(options[key], str):
                options[key] = value.strip('\'"')
