"""Functions called in processes that have imported nothing of OpenMMLab, timm or this package."""
import multiprocessing
import traceback

# What those libraries import, and what takes nine tenths of their time: imported once, for all processes.
COMMON = ['pytest', 'torch._dynamo', 'torch.distributed.fsdp', 'torch.utils.tensorboard', 'torchvision', 'cv2',
          'ftfy', 'huggingface_hub.file_download', 'matplotlib.pyplot', 'pycocotools.mask', 'rich.progress',
          'scipy.optimize', 'scipy.stats', 'shapely.geometry', 'wandb', 'yapf']


def call(function, *arguments):
    """What `function` returns in a process of its own; raises AssertionError with the traceback where it fails.

    The function's module must not itself import what is to be imported in a certain order.
    """
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(COMMON)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, function, arguments))
    process.start()
    sender.close()
    try:
        done, result = receiver.recv()
    except EOFError:
        process.join()
        done, result = False, f'it ended with exit code {process.exitcode}'
    process.join()
    assert done, result
    return result


def _answer(sender, function, arguments):
    try:
        sender.send((True, function(*arguments)))
    except BaseException:
        sender.send((False, traceback.format_exc()))
