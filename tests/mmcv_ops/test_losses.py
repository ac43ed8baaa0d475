"""Focal losses against the paper's formula, one score at a time."""
import math

import pytest
import torch

pytestmark = pytest.mark.usefixtures('our_operators')

TARGETS = torch.tensor([0, 2, 3, 1, 3])  # 3: background


def focal(p, gamma, alpha):
    return -alpha * (1 - p)**gamma * math.log(p)


@pytest.mark.parametrize('gamma', [0., .5, 2.])
@pytest.mark.parametrize('weight', [None, [.5, 1., 3.]])
def test_sigmoid_focal_loss_is_the_papers(gamma, weight):
    from mmcv.ops import sigmoid_focal_loss
    scores = torch.randn(5, 3, generator=torch.manual_seed(0)).double() * 3
    expected = torch.zeros_like(scores)
    for n, target in enumerate(TARGETS.tolist()):
        for c in range(3):
            p = 1 / (1 + math.exp(-scores[n, c]))
            expected[n, c] = focal(p, gamma, .25) if c == target else focal(1 - p, gamma, .75)
            expected[n, c] *= weight[target] if weight and target < 3 else 1
    weights = None if weight is None else torch.tensor(weight).double()
    loss = sigmoid_focal_loss(scores, TARGETS, gamma, .25, weights, 'none')
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(sigmoid_focal_loss(scores, TARGETS, gamma, .25, weights), expected.sum() / 5)


@pytest.mark.parametrize('gamma', [0., .5, 2.])
@pytest.mark.parametrize('weight', [None, [.5, 1., 3.]])
def test_softmax_focal_loss_is_the_papers(gamma, weight):
    from mmcv.ops import softmax_focal_loss
    scores = torch.randn(5, 3, generator=torch.manual_seed(0)).double() * 3
    targets = torch.tensor([0, 2, -1, 1, 3])  # the third and the last have no class
    expected = torch.zeros(5).double()
    for n, target in enumerate(targets.tolist()):
        if 0 <= target < 3:
            p = math.exp(scores[n, target]) / sum(map(math.exp, scores[n].tolist()))
            expected[n] = focal(p, gamma, .25) * (weight[target] if weight else 1)
    weights = None if weight is None else torch.tensor(weight).double()
    torch.testing.assert_close(softmax_focal_loss(scores, targets, gamma, .25, weights, 'none'), expected)


def test_scores_of_any_size_give_finite_losses_and_gradients():
    from mmcv.ops import sigmoid_focal_loss, softmax_focal_loss
    for loss in (sigmoid_focal_loss, softmax_focal_loss):
        for gamma in (0., .5, 2.):
            scores = torch.tensor([[0., -1000., 1000.], [1000., -1000., 0.], [50., -50., 90.]], requires_grad=True)
            value = loss(scores, torch.tensor([0, 0, 2]), gamma)
            value.backward()
            assert math.isfinite(value.detach()) and scores.grad.isfinite().all()


def test_sigmoid_focal_loss_agrees_with_mmdets_own_on_the_cpu():
    py_focal_loss = pytest.importorskip('mmdet.models.losses.focal_loss').py_focal_loss_with_prob
    from mmcv.ops import sigmoid_focal_loss
    scores = torch.randn(5, 3).double()
    expected = py_focal_loss(scores.sigmoid(), TARGETS, gamma=2., alpha=.25, reduction='none')
    torch.testing.assert_close(sigmoid_focal_loss(scores, TARGETS, 2., .25, None, 'none'), expected)
