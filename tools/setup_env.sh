#!/usr/bin/env bash
# Install everything this project needs into a virtual environment of its own.
#
#   tools/setup_env.sh [--stack openmmlab|onedl] [--venv DIR] [--cuda | --cpu] [--deps-only] [--cached]
#
#   --stack      openmmlab (default) or onedl, the maintained forks: same import names, so never in one environment
#   --venv       where to install; default .venv, or .venv-onedl for that stack, beside this project's Makefile
#   --cuda       compile mmcv's CUDA operators (for $TORCH_CUDA_ARCH_LIST, or the GPUs in this machine); --cpu: don't.
#                Default: with them where there is a GPU and an nvcc of torch's CUDA version
#   --deps-only  everything but mmvision_mamba itself
#   --cached     install nothing; succeed if this stack's mmcv wheel is in the cache, so that nothing would be compiled
#
# `make env` and docker/Dockerfile both run this script. It is safe to repeat and to interrupt: a finished environment
# is recognised and left alone, a half-made one is made anew. mmcv is compiled from source once per Python, torch,
# platform and CPU/CUDA flavour, and its wheel kept in $MMVISION_MAMBA_CACHE (default ~/.cache/mmvision_mamba) for every
# other clone. Not in pip's own cache, which would offer it to a later torch that it does not fit.
# PYTHON names the interpreter to use, MAX_JOBS the number of compilers to run at once.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
requirements=$root/requirements
die() { echo "setup_env.sh: $*" >&2; exit 2; }
say() { echo "[setup] $*"; }
pin() { sed -n "s/^$1==\([^ ;]*\).*/\1/p" "$requirements/constraints.txt"; }

stack=openmmlab venv='' flavour='' deps_only=false cached=false
while [ $# -gt 0 ]; do
    case $1 in
        --stack | --venv) [ $# -ge 2 ] || die "$1 needs a value"; declare "${1#--}=$2"; shift ;;
        --cuda | --cpu) flavour=${1#--} ;;
        --deps-only) deps_only=true ;;
        --cached) cached=true ;;
        -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit ;;
        *) die "unknown option '$1' (--help lists them)" ;;
    esac
    shift
done
case $stack in
    openmmlab) mmcv=mmcv default_venv=$root/.venv ;;
    onedl) mmcv=onedl-mmcv default_venv=$root/.venv-onedl ;;
    *) die "--stack must be openmmlab or onedl, got '$stack'" ;;
esac
case ${venv:=$default_venv} in /*) ;; *) venv=$PWD/$venv ;; esac

# Which Python. An environment that exists keeps its own unless PYTHON asks for another; a virtual environment's python
# stands for the one it was made from, because the environment itself may have to go.
describe='
import platform, sys
assert (3, 10) <= sys.version_info[:2] <= (3, 12)
version = "cp{}{}".format(*sys.version_info)
print(f"{version}-{platform.system().lower()}-{platform.machine()}", getattr(sys, "_base_executable", sys.executable))'
for candidate in "${PYTHON:-$venv/bin/python}" "${PYTHON:-python3}" python3.12 python3.11 python3.10; do
    found=$("$candidate" -c "$describe" 2>/dev/null) && break
    [ -z "${PYTHON:-}" ] || die "PYTHON=$PYTHON is not a Python 3.10, 3.11 or 3.12"
done
[ -n "$found" ] || die 'no Python 3.10, 3.11 or 3.12 found: install one, or name it with PYTHON=/path/to/python'
platform=${found%% *} host_python=${found#* }

# CUDA operators need a GPU to run on, and an nvcc of torch's own CUDA version to be compiled with.
cuda=$(pin cuda-toolkit | cut -d. -f1,2)
has_gpu() { [ -e /dev/nvidiactl ] || [ -e /dev/dxg ]; }
has_nvcc() { "${CUDA_HOME:+$CUDA_HOME/bin/}nvcc" --version 2>/dev/null | grep -q "release $cuda,"; }
[ -n "$flavour" ] || { has_gpu && has_nvcc && flavour=cuda; } || flavour=cpu
if [ $flavour = cuda ]; then
    has_nvcc || die "--cuda: no nvcc of CUDA $cuda, which torch $(pin torch) is built with (set CUDA_HOME or PATH)"
    gpus() { nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | sort -u | paste -sd';'; }
    : "${TORCH_CUDA_ARCH_LIST:=$(gpus)}"
    [ -n "$TORCH_CUDA_ARCH_LIST" ] || die "--cuda: no GPU seen here; set TORCH_CUDA_ARCH_LIST, as in '8.0;9.0+PTX'"
    export TORCH_CUDA_ARCH_LIST FORCE_CUDA=1
    flavour=cuda-${TORCH_CUDA_ARCH_LIST//[ ;]/-}
else
    export FORCE_CUDA=0 CUDA_VISIBLE_DEVICES=  # mmcv compiles for CUDA wherever torch sees a GPU
fi

build_key=$platform-torch$(pin torch)-$flavour
wheels=${MMVISION_MAMBA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mmvision_mamba}/wheels/$build_key
wheel() { find "$wheels" -maxdepth 1 -name "${mmcv//-/_}-$(pin $mmcv)-*.whl" 2>/dev/null | grep -m 1 .; }
if $cached; then
    wheel > /dev/null && exit
    echo "setup_env.sh: no $mmcv $(pin $mmcv) wheel in $wheels" >&2
    exit 1
fi

# The stamp says what the environment is (another path, Python, torch or stack, or none yet: it is made anew), and what
# was installed (anything else: pip brings it up to date).
stamp=$venv/.mmvision_mamba python=$venv/bin/python
identity="$venv $build_key $stack"
sources=$({ cat "$requirements"/*.txt "${BASH_SOURCE[0]}" "$root/setup.py" 2>/dev/null || $deps_only; } | cksum)
state="$identity $root $sources deps-only=$deps_only"
finished() { [ -x "$python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$state" ]; }
finished && exit 0

# Two `make` at once in one clone take turns (the lock is on the folder itself and ends with the process).
mkdir -p "$venv"
exec 8< "$venv"
flock --nonblock 8 || { say "another set-up is at work on $venv; waiting for it"; flock 8; }
finished && exit 0

pip() {
    "$python" -m pip --disable-pip-version-check --no-input --retries 3 "$@" > "$venv/pip.log" 2>&1 && return
    grep -qE 'NewConnectionError|NameResolutionError|ConnectTimeoutError|ReadTimeoutError|ProxyError' "$venv/pip.log" \
        && die "the package index can't be reached: connect to the network or set pip's index-url, then run this again"
    tail -n 15 "$venv/pip.log" >&2
    die "pip $1 failed (above and in $venv/pip.log)"
}

install() { pip install --constraint "$requirements/constraints.txt" "$@"; }

make_venv() {
    "$host_python" -c 'import ensurepip, venv' 2>/dev/null \
        || die "$host_python cannot make virtual environments: install its venv package (Debian, Ubuntu: python3-venv)"
    if [ "$venv" != "$default_venv" ] && [ -n "$(ls -A "$venv" 2>/dev/null)" ] && [ ! -e "$stamp" ]; then
        die "--venv $venv: there is something there that this script did not make; name another folder"
    fi
    [ ! -e "$stamp" ] || say 'an environment is there that is unfinished or of another kind; making it anew'
    find "$venv/" -mindepth 1 -delete
    : > "$stamp"
    "$host_python" -m venv "$venv"
}

report_progress() {  # a line each minute: the compilation would be silent for very long
    local count
    while sleep 60 > /dev/null 2>&1 && kill -0 $$ 2> /dev/null; do
        count=$(grep -oE '^ *\[[0-9]+/[0-9]+\]' "$1" | tail -n 1 | tr -d ' []') || true
        say "    files compiled: ${count:-none yet}"
    done
}

compile() {
    local build=$wheels/$mmcv-build log=$wheels/$mmcv.log memory
    mkdir -p "$wheels"
    exec 9< "$wheels"
    flock --nonblock 9 || { say '    another clone is compiling it; waiting'; flock 9; }
    wheel > /dev/null && return
    command -v "${CXX:-c++}" > /dev/null || die 'no C++ compiler for mmcv (Debian, Ubuntu: apt install build-essential)'
    "$python" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null \
        || die "$host_python lacks its C headers (Debian, Ubuntu: apt install python3-dev)"
    install setuptools wheel ninja psutil packaging
    # The sources stay in the cache until the wheel is there: interrupted, ninja goes on where it stopped.
    if [ ! -d "$build/source" ]; then
        rm -rf "$build"
        mkdir -p "$build/unpacked"
        pip download --no-deps --no-build-isolation --no-binary "$mmcv" --dest "$build" "$mmcv==$(pin $mmcv)"
        tar -xzf "$build"/*.tar.gz -C "$build/unpacked" --strip-components=1
        mv "$build/unpacked" "$build/source"
    fi
    memory=$(awk '/MemAvailable/ {print int($2 / 2500000) + 1}' /proc/meminfo)  # the largest file takes 2.4 GB
    : "${MAX_JOBS:=$(($(nproc) < memory ? $(nproc) : memory))}"
    report_progress "$log" 8<&- 9<&- & reporter=$!
    trap 'kill $reporter 2> /dev/null || true' EXIT
    PATH=$venv/bin:$PATH MMCV_WITH_OPS=1 MAX_JOBS=$MAX_JOBS \
        "$python" -m pip --disable-pip-version-check wheel --verbose --no-deps --no-build-isolation --no-cache-dir \
        --wheel-dir "$build" "$build/source" > "$log" 2>&1 \
        || { grep -E 'error|Error' "$log" | tail -n 15 >&2; die "$mmcv did not compile (above and in $log)"; }
    mv "$build"/*.whl "$wheels"
    kill $reporter
    rm -rf "$build" "$log"
    exec 9<&-
}

case $(cat "$stamp" 2>/dev/null) in
    "$identity "*) [ -x "$python" ] || make_venv ;;
    *) make_venv ;;
esac

say "1/4 torch $(pin torch), timm (about 5 GB with the CUDA libraries, a minute or two)"
install pip setuptools
install -r "$requirements/torch.txt"
[ -s "$stamp" ] || echo "$identity unfinished" > "$stamp"

if wheel > /dev/null; then
    say "2/4 $mmcv $(pin $mmcv), compiled before: $wheels"
else
    say "2/4 $mmcv $(pin $mmcv): compiling it, once on this machine (7 to 15 minutes on two cores, longer with CUDA)"
    compile
fi

say "3/4 the $stack stack and the development tools"
install "$(wheel)" -r "$requirements/torch.txt" -r "$requirements/$stack.txt" -r "$requirements/dev.txt"

modules=mmcv.ops,mmdet,mmengine,mmseg,torchvision
if ! $deps_only; then
    say '4/4 mmvision_mamba itself, editable'
    pip install --no-deps --no-build-isolation --editable "$root"
    modules+=,mmvision_mamba
fi
(cd / && "$python" -W ignore -c "import $modules") > "$venv/import.log" 2>&1 \
    || die "the installed packages don't import: $(tail -n 1 "$venv/import.log") (all of it in $venv/import.log)"

# Debian's browser, in which a test tries the web page; without it that test is skipped.
install_browser() {
    [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null || return 0
    ! { command -v chromium && command -v chromedriver; } > /dev/null 2>&1 || return 0
    say 'chromium and chromium-driver, for the test of the web page'
    { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends chromium \
        chromium-driver; } > "$venv/apt.log" 2>&1 \
        || say "note: chromium could not be installed, so that test will be skipped (why: $venv/apt.log)"
}
$deps_only || install_browser

echo "$state" > "$stamp"
say "done: $stack stack, mmcv for ${flavour%%-*}, in $venv"
if has_gpu && [ "$flavour" = cpu ]; then
    say "note: mmcv is without its CUDA operators, so detectors can't run on the GPU of this machine;"
    say "      for them install the CUDA $cuda toolkit and run this again, or use docker/"
fi
