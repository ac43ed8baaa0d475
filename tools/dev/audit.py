#!/usr/bin/env python3
"""Report known vulnerabilities of the installed packages: tools/dev/audit.py [options for pip-audit].

A report, not a gate: the exit code is always 0. If the database can't be reached, the report says so.
"""
import json
import subprocess
import sys
from importlib.util import find_spec


def audit(options: list[str]) -> str:
    """Run pip-audit on the environment of this interpreter; returns its report, in lines for people."""
    if find_spec('pip_audit') is None:
        return "No report: pip-audit is not installed (pip install 'mmvision-mamba[dev]')."
    command = [sys.executable, '-m', 'pip_audit', '--format', 'json', '--progress-spinner', 'off', '--skip-editable',
               *options]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=900)
    except subprocess.TimeoutExpired:
        return 'No report: the vulnerability database did not answer within 15 minutes.'
    try:
        packages = json.loads(run.stdout)['dependencies']
    except (ValueError, KeyError):
        lines = run.stderr.strip().splitlines() or ['no reason given']
        unreachable = any(word in run.stderr for word in ('ConnectionError', 'ServiceError', 'Max retries', 'Timeout',
                                                          'ProxyError', 'Could not reach', 'resolve'))
        reason = 'the vulnerability database can not be reached' if unreachable else 'pip-audit failed'
        return f'No report: {reason} ({lines[-1][:300]}).'
    vulnerabilities = [(package, vulnerability) for package in packages for vulnerability in package.get('vulns', ())]
    skipped = [package['name'] for package in packages if 'skip_reason' in package]
    if len(skipped) == len(packages):
        return 'No report: the vulnerability database knows none of the packages; a mirror without one may be in use.'
    lines = [f'{len(packages) - len(skipped)} packages looked up, {len(vulnerabilities)} known vulnerabilities.']
    for package, vulnerability in vulnerabilities:
        names = ', '.join([vulnerability['id'], *vulnerability.get('aliases', ())])
        fixed = ', '.join(vulnerability.get('fix_versions', ())) or 'no version'
        lines.append(f'  {package["name"]} {package["version"]}: {names}; fixed in {fixed}')
    if skipped:
        lines.append(f'Not in the database: {", ".join(skipped)}.')
    return '\n'.join(lines)


if __name__ == '__main__':
    if {'-h', '--help'} & set(sys.argv[1:]):
        print(__doc__.strip())
    else:
        print(audit(sys.argv[1:]))
