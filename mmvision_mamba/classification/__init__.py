"""Image classification through mmengine: model, data set, transform, metric and hooks, to train and test with."""
from .dataset import ImageFolder
from .hooks import ClassesCheckHook, PublishedWeightsHook
from .mesa import MESAHook
from .metric import Accuracy
from .model import ImageClassifier
from .transforms import PackImage

__all__ = ['Accuracy', 'ClassesCheckHook', 'ImageClassifier', 'ImageFolder', 'MESAHook', 'PackImage',
           'PublishedWeightsHook']
