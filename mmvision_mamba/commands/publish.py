"""Write a checkpoint's weights alone, named after their hash, to give away; or push a model to the Hugging Face Hub.

Optimiser, schedule and paths of the run stay behind: the file is a third as large. Averaged weights (EMA) are what
such a run validates, and what is written of it.

    mmvision-mamba publish work_dirs/NAME/best_coco_bbox_mAP_epoch_12.pth --hub OWNER/NAME --private

With --hub the config, found beside the checkpoint, goes along as data, with a card: `Model.load('hf://OWNER/NAME')`
loads it without running code. Needs a token, of `hf auth login` or HF_TOKEN.
"""
import argparse
import os
import tempfile
from pathlib import Path

from ..configs import config_of_run
from ..errors import ConfigError
from ..printable import shown


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('checkpoint', help='checkpoint file, URL or hf://OWNER/REPO; with --hub also a folder that '
                        'Model.save wrote')
    parser.add_argument('out', nargs='?', help='file to write, NAME.pth, as NAME-HASH.pth; default: beside CHECKPOINT, '
                        'under its name')
    parser.add_argument('--hub', metavar='OWNER/NAME', help='push the model to this repository on the Hub, which is '
                        'made where there is none')
    parser.add_argument('--private', action='store_true', help='with --hub: make the repository a private one')
    parser.add_argument('--yes', action='store_true', help='with --hub: replace what it holds of the same names')
    parser.add_argument('--licence', metavar='NAME', help='with --hub and a checkpoint: of the weights, as the Hub '
                        'writes licences; default: that of the pretrained weights that training began with')


def run(args: argparse.Namespace) -> None:
    if args.out == '':
        raise ConfigError('OUT is empty: name a file, or leave it out')
    if args.hub is None and (args.private or args.yes or args.licence):
        raise ConfigError('--private, --yes and --licence go with --hub OWNER/NAME')
    if args.hub is not None:
        print(shown(_push(args)))
        return
    from ..checkpoints.publishing import publish
    print(shown(publish(args.checkpoint, args.out)))


def _push(args: argparse.Namespace) -> str:
    from ..sharing.loading import copied, fetch
    from ..sharing.push import push
    if args.out is not None:
        raise ConfigError('OUT is a file, and with --hub none is written: leave it out')
    if os.path.isdir(args.checkpoint):
        if args.licence:
            raise ConfigError('--licence: a saved folder has a licence; Model.save(licence=…) gives it another')
        fetch(args.checkpoint)  # before anything is asked
        with tempfile.TemporaryDirectory() as folder:
            return push(args.hub, lambda: copied(args.checkpoint, Path(folder)), args.private, args.yes)
    config = config_of_run(args.checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        return push(args.hub, lambda: _saved(args, config, Path(folder, 'model')), args.private, args.yes)


def _saved(args: argparse.Namespace, config: Path, folder: Path) -> Path:
    from ..inference import Inferencer
    from ..sharing.folder import save
    from ..sharing.picture import example
    inferencer = Inferencer(config, args.checkpoint, show_progress=False)
    return save(folder, inferencer, config.stem, licence=args.licence, picture=example(inferencer))
