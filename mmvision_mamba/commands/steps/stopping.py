"""What --val-loss, --monitor and --patience change in a config: what validations measure, and what follows from it."""
from mmengine.config import Config

from ...engine.val_loss import PREFIX
from ...errors import ConfigError
from ...preflight.loss_data import loss_dataloader
from ...printable import shown
from ...text import class_name
from .prepare import add_hooks

_LOSS = 'ValLossHook'
_STOPPING = 'EarlyStoppingHook', 'ResumableEarlyStoppingHook'


def use_stopping(cfg: Config, val_loss: bool, monitor: str | None, patience: int | None) -> None:
    """Have a training compute the loss of validation, keep the best checkpoint by a metric, and stop early.

    Args:
        cfg: changed in place; its checkpoint hook is there.
        val_loss: whether to add `ValLossHook`.
        monitor: the metric; None: the config's.
        patience: validations without a better one after which to stop; None: as the config says.

    Raises:
        ConfigError: there is no validation, `patience` is no positive number, or the loss of validation is to be gone
            by and is not computed.
    """
    for option, given in (('--val-loss', val_loss), ('--monitor', monitor), ('--patience', patience is not None)):
        if given and (cfg.get('val_dataloader') is None or cfg.get('val_cfg') is None):
            raise ConfigError(f'{option} needs a validation set: set val_dataloader, val_cfg and val_evaluator')
    if patience is not None and patience < 1:
        raise ConfigError(f'--patience is {patience}: expected a number of validations, 1 or more')
    if val_loss:
        add_hooks(cfg, dict(type=_LOSS))
    checkpoint = cfg.default_hooks.checkpoint
    if monitor is not None:
        if checkpoint.get('save_best') != monitor:
            checkpoint.pop('rule', None)
        checkpoint['save_best'] = monitor
    stopping = [hook for hook in cfg.get('custom_hooks') or [] if class_name(hook.get('type')) in _STOPPING]
    if patience is not None:
        if not checkpoint.get('save_best'):
            checkpoint['save_best'] = 'auto'
        if not stopping:
            add_hooks(cfg, dict(type=_STOPPING[1], min_delta=0.))
            stopping = cfg.custom_hooks[-1:]
    for hook in stopping:
        if monitor not in (None, hook.get('monitor')):
            hook.pop('rule', None)
        hook.update({key: value for key, value in (('patience', patience), ('monitor', monitor)) if value is not None})
    named = checkpoint.get('save_best')
    for key in [*(named if isinstance(named, list | tuple) else [named]), *(hook.get('monitor') for hook in stopping)]:
        if isinstance(key, str) and key.startswith(PREFIX) and not _hooks(cfg):
            raise ConfigError(f'{shown(key)} is not computed: add --val-loss, or dict(type={_LOSS!r}) to custom_hooks')


def check_val_loss(cfg: Config) -> None:
    """Raise ConfigError where the config has a `ValLossHook` whose data can't be made of it."""
    for hook in _hooks(cfg):
        loss_dataloader(cfg, hook.get('pipeline'))


def _hooks(cfg: Config) -> list:
    return [hook for hook in cfg.get('custom_hooks') or [] if class_name(hook.get('type')) == _LOSS]
