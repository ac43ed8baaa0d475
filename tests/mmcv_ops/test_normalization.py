"""Synchronised batch norm against torch's on the batch of all processes."""
import pytest
import torch
import torch.nn.functional as F

pytestmark = pytest.mark.usefixtures('our_operators')


def arguments(channels):
    return torch.zeros(channels), torch.ones(channels), torch.rand(channels), torch.randn(channels)


@pytest.mark.parametrize('shape', [(3, 4, 5, 2), (2, 4, 1), (1, 4, 1)])
@pytest.mark.parametrize('stats_mode', ['default', 'N'])
def test_one_process_is_batch_norm(shape, stats_mode):
    from mmcv.ops.sync_bn import SyncBatchNormFunction
    torch.manual_seed(0)
    x, upstream = torch.randn(shape) + 2, torch.randn(shape)
    mean, var, *parameters = arguments(4)
    found = [tensor.clone().requires_grad_() for tensor in (x, *parameters)]
    output = SyncBatchNormFunction.apply(found[0], mean, var, *found[1:], .1, 1e-5, None, 1, stats_mode)
    output.backward(upstream)
    if shape == (1, 4, 1):  # torch refuses a single value
        torch.testing.assert_close(output, parameters[1].expand(1, 4)[..., None])
        torch.testing.assert_close(mean, .1 * x.flatten())
        return
    wanted = [tensor.clone().requires_grad_() for tensor in (x, *parameters)]
    wanted_mean, wanted_var = torch.zeros(4), torch.ones(4)
    expected = F.batch_norm(wanted[0], wanted_mean, wanted_var, *wanted[1:], True, .1, 1e-5)
    expected.backward(upstream)
    for one, other in ((output, expected), (mean, wanted_mean), (var, wanted_var),
                       *((a.grad, b.grad) for a, b in zip(found, wanted))):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_two_processes_normalise_as_one_with_their_batches_together():
    from mmvision_mamba.mmcv_ops import extension
    torch.manual_seed(0)
    parts, upstream = torch.randn(2, 3, 4, 6) + 1, torch.randn(2, 3, 4, 6)
    running_mean, running_var, weight, bias = arguments(4)

    def average(step):  # what mmcv's all_reduce does with each process's answer
        answers = torch.zeros(2, 4)
        for answer, process in zip(answers, range(2)):
            step(process, answer)
        return answers.mean(0)

    mean = average(lambda i, answer: extension.sync_bn_forward_mean(parts[i], answer))
    var = average(lambda i, answer: extension.sync_bn_forward_var(parts[i], mean, answer))
    (norm, output, grad), std = torch.zeros(3, 2, 3, 4, 6), torch.zeros(2, 4)
    for i in range(2):
        extension.sync_bn_forward_output(parts[i], mean, var, weight, bias, *((running_mean, running_var) if i else (
            None, None)), norm[i], std[i], output[i], eps=1e-5, momentum=.1, group_size=2)
    grads = torch.zeros(2, 2, 4)
    for i in range(2):
        extension.sync_bn_backward_param(upstream[i], norm[i], *grads[i])
    for i in range(2):
        extension.sync_bn_backward_data(upstream[i], weight, *grads.mean(0), norm[i], std[i], grad[i])
    together = parts.flatten(0, 1).requires_grad_()
    wanted_mean, wanted_var = torch.zeros(4), torch.ones(4)
    expected = F.batch_norm(together, wanted_mean, wanted_var, weight, bias, True, .1, 1e-5)
    expected.backward(upstream.flatten(0, 1))
    for one, other in ((output.flatten(0, 1), expected), (running_mean, wanted_mean), (running_var, wanted_var),
                       (grad.flatten(0, 1), together.grad)):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_an_empty_batch_changes_nothing():
    from mmcv.ops.sync_bn import SyncBatchNormFunction
    mean, var, weight, bias = arguments(4)
    x = torch.zeros(0, 4, 3, requires_grad=True)
    output = SyncBatchNormFunction.apply(x, mean, var, weight, bias, .1, 1e-5, None, 1, 'N')
    output.sum().backward()
    assert output.shape == x.grad.shape == (0, 4, 3)
    assert not mean.any() and (var == 1).all()
