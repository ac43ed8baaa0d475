#!/usr/bin/env python3
"""Train a MambaVision classifier with Lightning: classifier.py FOLDER, which holds train/CLASS/* and val/CLASS/*.

Needs `pip install lightning` beside mmvision_mamba and torchvision; any option of `timm.create_model` goes into
`MambaVisionModule`.
"""
import argparse
from pathlib import Path

import lightning
import timm
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

import mmvision_mamba  # noqa: F401  (timm then knows its models)


class MambaVisionModule(lightning.LightningModule):
    """A classifier with its loss, accuracy and optimiser.

    Args:
        name: a model of timm's. Default: 'mambavision_tiny'.
        lr, weight_decay: of AdamW. Default: 1e-4, 0.05.
        options: arguments of `timm.create_model`: num_classes, pretrained, drop_path_rate, …
    """

    def __init__(self, name: str = 'mambavision_tiny', lr: float = 1e-4, weight_decay: float = 0.05, **options):
        super().__init__()
        self.save_hyperparameters()
        self.model = timm.create_model(name, **options)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images)

    def training_step(self, batch: tuple, _: int) -> torch.Tensor:
        images, labels = batch
        loss = F.cross_entropy(self(images), labels)
        self.log('train_loss', loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple, _: int) -> None:
        images, labels = batch
        self.log('accuracy', (self(images).argmax(1) == labels).float().mean(), prog_bar=True)

    def configure_optimizers(self) -> dict:
        groups = timm.optim.param_groups_weight_decay(self, self.hparams.weight_decay)
        optimizer = torch.optim.AdamW(groups, self.hparams.lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.max_epochs)
        return dict(optimizer=optimizer, lr_scheduler=schedule)


def main(arguments: list[str] | None = None) -> MambaVisionModule:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--name', default='mambavision_tiny')
    parser.add_argument('--no-pretrained', action='store_true', help='start from random weights')
    parser.add_argument('--epochs', type=int, default=10)
    parser.add_argument('--batch', type=int, default=32)
    parser.add_argument('--workers', type=int, default=4)
    parser.add_argument('--size', type=int, help="side of the images. Default: the model's own")
    args = parser.parse_args(arguments)

    classes = ImageFolder(args.folder / 'train').classes
    module = MambaVisionModule(args.name, num_classes=len(classes), pretrained=not args.no_pretrained,
                               **({} if args.size is None else dict(img_size=args.size)))
    config = timm.data.resolve_model_data_config(module.model)
    loaders = []
    for part in ('train', 'val'):
        transform = timm.data.create_transform(**config, is_training=part == 'train')
        loaders.append(DataLoader(ImageFolder(args.folder / part, transform), args.batch, shuffle=part == 'train',
                                  num_workers=args.workers, drop_last=part == 'train'))
    lightning.Trainer(max_epochs=args.epochs, precision='bf16-mixed', default_root_dir='work_dirs/lightning').fit(
        module, *loaders)
    return module


if __name__ == '__main__':
    main()
