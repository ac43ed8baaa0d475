"""A local cluster is for those alone who know its secret: its ports are open to other machines."""
import os
import subprocess
import sys

import pytest

pytest.importorskip('ray')

PROGRAM = '''
import os, subprocess, sys
from mmvision_mamba.inference.ray_cluster import cluster
with cluster('local', 1, 'this test') as ray:
    enter = 'import ray; ray.init(sys.argv[1]); print("inside", ray.get(ray.remote(lambda: 7).remote()))'
    for secret in (os.environ['RAY_AUTH_TOKEN'], 'a' * 64):
        answer = subprocess.run(
            [sys.executable, '-c', f'import sys; {enter}', ray.get_runtime_context().gcs_address],
            env=dict(os.environ, RAY_AUTH_TOKEN=secret), capture_output=True, text=True)
        print('inside 7' in answer.stdout, len(secret))
'''


def test_a_local_cluster_lets_nobody_in_who_does_not_know_its_secret(tmp_path):
    plain = {name: value for name, value in os.environ.items() if not name.startswith('RAY_')}
    result = subprocess.run([sys.executable, '-c', PROGRAM], env=dict(plain, HOME=str(tmp_path)), capture_output=True,
                            text=True, timeout=200)
    assert result.stdout.split('\n')[-3:] == ['True 64', 'False 64', ''], result.stdout + result.stderr
