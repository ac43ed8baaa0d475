"""Serve a model over HTTP: an image in, JSON, a picture or a map out.

Requests that come together go through the model together, those that are too many or too large are refused at once,
and those that were let in are answered: where a process with the model ends, by another. Needs Ray Serve, the extra
`serve`.

    mmvision-mamba serve CONFIG CHECKPOINT
    curl --data-binary @photo.jpg http://127.0.0.1:8000/predict
"""
import argparse
import os

from ..configs import config_of_run, find_config, is_checkpoint, is_exported
from ..errors import ConfigError
from ..limits import check_workers
from ..printable import shown
from .errors import raising_user_errors
from .options import CHECKPOINT, add_cfg_options, add_dtype, number_or_auto


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='config file, checkpoint with its config beside it, or exported file')
    parser.add_argument('checkpoint', nargs='?', help=CHECKPOINT)
    parser.add_argument('--host', default='127.0.0.1',
                        help='address to listen at; 0.0.0.0 serves other machines too (default: %(default)s)')
    parser.add_argument('--port', type=int, default=8000, help='0: any that is free (default: %(default)s)')
    parser.add_argument('--device', help='cpu or cuda; default: GPUs where there are some')
    add_dtype(parser)
    parser.add_argument('--score-thr', type=number_or_auto, default=0.3, metavar='SCORE|auto',
                        help='instances with a higher score are told, where a request says nothing else; auto: the '
                        'threshold of each class that the report beside the checkpoint recommends '
                        '(default: %(default)s)')
    parser.add_argument('--replicas', type=int, metavar='N',
                        help='processes, each with a model; on GPUs they share these evenly. Default: one, on GPUs one '
                        'for each')
    parser.add_argument('--batch-size', type=int, metavar='N',
                        help='images that go through the model together, at most. Default: 8 on GPUs, and 1 on CPUs, '
                        'where larger batches gain nothing')
    parser.add_argument('--batch-wait', type=float, default=5, metavar='MS',
                        help='milliseconds that the first image of a batch waits for others (default: %(default)s)')
    parser.add_argument('--queue', type=int, default=64, metavar='N',
                        help='requests that may wait; more are refused with 429 (default: %(default)s)')
    parser.add_argument('--max-megabytes', type=float, default=20, help="of an image's file (default: %(default)s)")
    parser.add_argument('--max-megapixels', type=float, default=40, help='of an image (default: %(default)s)')
    parser.add_argument('--timeout', type=float, default=120, metavar='S',
                        help='seconds until a request is given up with 504, and that a stopping server takes at most '
                        '(default: %(default)s)')
    add_cfg_options(parser)


def run(args: argparse.Namespace) -> None:
    if not 0 <= args.port <= 65535:
        raise ConfigError(f'--port: expected a number from 0 to 65535, got {args.port}')
    from ..serving.application import Settings
    from ..serving.server import run as serve
    model, weights = _model(args)
    exported = is_exported(weights or model)
    gpus = 0 if exported else _gpus(args)
    replicas = max(1, gpus) if args.replicas is None else args.replicas
    check_workers(replicas, '--replicas')
    settings = Settings(
        model=model, weights=weights, cfg_options=args.cfg_options or {}, dtype=args.dtype, score_thr=args.score_thr,
        replicas=replicas, gpus=min(1., gpus / max(1, replicas)), threads=_threads(replicas),
        batch_size=(8 if gpus else 1) if args.batch_size is None else args.batch_size, batch_wait=args.batch_wait,
        queue=args.queue, max_megabytes=args.max_megabytes, max_megapixels=args.max_megapixels, timeout=args.timeout)

    def check():
        """Load the model on the CPU: what is wrong with it is said before any process starts."""
        from ..inference import Inferencer
        from ..inference.precision import check_dtype
        if not exported:
            check_dtype(args.dtype, 'cuda' if gpus else 'cpu')
        with raising_user_errors():
            Inferencer(model, weights, 'cpu', args.cfg_options, show_progress=False, score_thr=args.score_thr,
                       dtype=args.dtype if exported else 'float32')
    serve(settings, args.host, args.port, check)


def _model(args: argparse.Namespace) -> tuple[str, str | None]:
    """The config and the checkpoint, or an exported file and None, where processes of another folder find them."""
    from ..checkpoints.local_files import is_remote
    words = [word for word in (args.config, args.checkpoint) if word is not None]
    if is_checkpoint(words[0]) and len(words) == 1:
        words.insert(0, str(config_of_run(words[0])))
    if len(words) == 1 and not is_exported(words[0]):
        raise ConfigError(f'{shown(words[0])}: expected its checkpoint after it: mmvision-mamba serve CONFIG '
                          'CHECKPOINT')
    model = words[0] if is_exported(words[0]) else find_config(words[0])
    weights = words[1] if len(words) == 2 else None
    if weights is not None and not is_remote(weights):
        weights = os.path.abspath(weights)
    return os.path.abspath(model), weights


def _gpus(args: argparse.Namespace) -> int:
    """Number of GPUs to serve on; 0: the CPU."""
    import torch
    kind = None if args.device is None else args.device.partition(':')[0]
    if kind not in (None, 'cpu', 'cuda') or args.device not in (None, kind):
        raise ConfigError(f'--device {shown(args.device)}: expected cpu or cuda; CUDA_VISIBLE_DEVICES says which GPUs')
    there = torch.cuda.device_count()
    if kind == 'cuda' and not there:
        raise ConfigError('--device cuda: there is no GPU that PyTorch can use')
    return 0 if kind == 'cpu' else there


def _threads(replicas: int) -> int:
    """Of each process, so that together they have as many as torch would take."""
    import torch
    return max(1, torch.get_num_threads() // max(1, replicas))
