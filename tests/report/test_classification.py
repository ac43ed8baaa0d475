"""The analysis of classifiers, against counting."""
import torch

from ..helpers.evaluations import CLASSES, Objects, classifications, evaluated, recorder


def test_accuracy_matrix_and_worst_images():
    _, samples, labels = classifications()
    guesses = [int(sample['pred_scores'].argmax()) for sample in samples]
    content = evaluated('classification').content
    analysis = content['analysis']
    assert analysis['overall']['accuracy'] == round(sum(map(int.__eq__, guesses, labels)) / 60, 5)
    assert analysis['confusion'] == [[sum(pair == (i, j) for pair in zip(labels, guesses)) for j in range(3)]
                                     for i in range(3)]
    worst = content['pictures'][0]
    sure = max(float(sample['pred_scores'].max()) for sample, label, guess in zip(samples, labels, guesses)
               if label != guess)
    assert worst['role'] == 'worst' and worst['note'].startswith(f'{CLASSES[0]}, {sure:.2f}; true: {CLASSES[2]}')
    assert worst['prediction'] is None and worst['truth']


def test_samples_of_mmpretrain_are_understood():
    _, samples, labels = classifications()
    record = recorder(Objects())
    record.process({}, [dict(img_path='a', pred_score=sample['pred_scores'], gt_label=torch.tensor([label]))
                        for sample, label in zip(samples, labels)])
    record.evaluate(60)
    assert record.content['analysis'] == evaluated('classification').content['analysis']
