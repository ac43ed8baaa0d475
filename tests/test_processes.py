"""Which process is the first of a job, and how the processes of a job come together."""
import logging
import stat

import pytest
import torch

from mmvision_mamba.errors import ConfigError
from mmvision_mamba.processes import is_first_process, join_processes, part_processes, print_once, warn_once

VARIABLES = ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST',
             'TORCHELASTIC_USE_AGENT_STORE')
TORCHRUN = dict(RANK=0, WORLD_SIZE=2, MASTER_ADDR='127.0.0.1', MASTER_PORT=29500)
on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason='of a machine without a GPU')


@pytest.fixture
def environment(monkeypatch):
    """environment(NAME=value) sets variables; none of a job's is set before, and all are put back afterwards."""
    for name in VARIABLES:
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)
    return lambda **values: [monkeypatch.setenv(name, str(value)) for name, value in values.items()]


@pytest.mark.parametrize(('variables', 'first'), [
    ({}, True), (dict(RANK=0), True), (dict(RANK=3), False), (dict(SLURM_PROCID=0), True),
    (dict(SLURM_PROCID=1), False), (dict(RANK=1, SLURM_PROCID=0), False), (dict(RANK=0, SLURM_PROCID=1), True)])
def test_the_first_process_prints_and_warns(variables, first, environment, capsys, monkeypatch):
    warned = []
    monkeypatch.setattr('mmengine.logging.print_log', lambda text, logger, level: warned.append((text, level)))
    environment(**variables)
    assert is_first_process() is first
    print_once('once')
    assert capsys.readouterr().out == 'once\n' * first
    warn_once('beware')
    assert warned == [('beware', logging.WARNING)] * first


@on_cpu
@pytest.mark.parametrize(('launcher', 'variables', 'message'), [
    ('mpi', {}, '--launcher mpi needs GPUs; on CPUs use --launcher pytorch'),
    ('slurm', {}, "--launcher slurm: 'SLURM_PROCID' is not set: start the tool with srun"),
    ('slurm', dict(SLURM_PROCID=0), "'SLURM_NTASKS' is not set"),
    ('pytorch', dict(RANK=0, WORLD_SIZE=1, MASTER_PORT=1), 'MASTER_ADDR is not set in the environment: start the tool'),
    ('pytorch', dict(TORCHRUN, WORLD_SIZE='abc'), "WORLD_SIZE='abc' in the environment: expected a number"),
    ('pytorch', dict(TORCHRUN, WORLD_SIZE='0'), 'WORLD_SIZE=0 in the environment: expected 1 to'),
    ('pytorch', dict(TORCHRUN, WORLD_SIZE='-1'), "WORLD_SIZE='-1' in the environment: expected a number"),
    ('pytorch', dict(TORCHRUN, RANK=2), 'RANK=2 in the environment: expected 0 to 1, as torchrun'),
    ('pytorch', dict(TORCHRUN, MASTER_PORT=70000), 'MASTER_PORT=70000 in the environment: expected 0 to 65535'),
    ('pytorch', dict(TORCHRUN, MASTER_PORT='٣'), 'MASTER_PORT=.* expected a number')])
def test_launchers_that_can_not_be(launcher, variables, message, environment):
    environment(**variables)
    with pytest.raises(ConfigError, match=message):
        join_processes(launcher, {})
    assert not torch.distributed.is_initialized()


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """Slurm's program, which names the hosts of a job."""
    program = tmp_path / 'scontrol'
    program.write_text('#!/bin/sh\n[ "$*" = "show hostname machine[1-2]" ] && echo 127.0.0.1 && echo another\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=':')


@on_cpu
@pytest.mark.parametrize('launcher', ['pytorch', 'slurm'])
def test_processes_join_once_and_part(launcher, environment, port, scontrol):
    environment(MASTER_PORT=port, **dict(
        pytorch=dict(RANK=0, WORLD_SIZE=1, MASTER_ADDR='127.0.0.1'),
        slurm=dict(SLURM_PROCID=0, SLURM_NTASKS=1, SLURM_NODELIST='machine[1-2]'))[launcher])
    part_processes()  # of no job: nothing to do
    join_processes(launcher, {})
    try:
        assert torch.distributed.get_backend() == 'gloo' and torch.distributed.get_world_size() == 1
        join_processes(launcher, {})
    finally:
        part_processes()
    assert not torch.distributed.is_initialized()
