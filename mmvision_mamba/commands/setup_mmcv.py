"""Give mmcv-lite operators for programs that do not import mmvision_mamba first.

mmcv-lite lacks the compiled module mmcv._ext. Where mmvision_mamba is imported first, that is no matter: it offers the
operators in PyTorch. But notebooks, label tools and mmdet's DetInferencer import mmdet first. For these the command
puts one file into the installed mmcv-lite, mmcv/_ext.py, which hands on this package's operators. pip removes the file
together with mmcv-lite; --remove takes it out by itself.
"""
import argparse


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--remove', action='store_true', help='take the file out again')


def run(args: argparse.Namespace) -> None:
    from ..mmcv_ops.permanent import put_in, take_out
    if args.remove:
        file = take_out()
        print(f'removed {file}' if file else 'nothing to remove: mmcv holds no file of mmvision_mamba')
        return
    file, changed = put_in()
    print(f'{file} {"written" if changed else "is there already"}: mmcv takes its operators from mmvision_mamba, '
          'whatever is imported first.\nTo take it out: mmvision-mamba setup-mmcv --remove')
