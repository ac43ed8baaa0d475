#!/usr/bin/env bash
# Install everything this project needs into a virtual environment of its own.
#
#   tools/setup_env.sh [--stack openmmlab|onedl] [--mmcv lite|compiled] [--torch default|cpu] [--venv DIR]
#                      [--no-dev] [--deps-only]
#
#   --stack      openmmlab (default) or onedl, the maintained forks: same import names, so never in one environment
#   --mmcv       lite (default): mmcv without its operators, which mmvision_mamba brings; nothing is compiled.
#                compiled: with its own, from its sources, on an older torch (tools/compile_mmcv.sh)
#   --torch      default: PyPI's, on Linux with the CUDA libraries. cpu: without them, from the index TORCH_INDEX, or
#                from wherever pip is configured to look (PIP_FIND_LINKS=FOLDER, PIP_EXTRA_INDEX_URL=URL). Left out: as
#                the environment was made, or default
#   --venv       where to install; default .venv, .venv-onedl, .venv-compiled or .venv-onedl-compiled beside this
#                project's Makefile
#   --no-dev     what training, inference and the web page need, without tests, linters, documentation and a browser
#   --deps-only  everything but mmvision_mamba itself
#
# `make env` and docker/Dockerfile both run this script. It is safe to repeat and to interrupt: a finished environment
# is recognised and left alone, a half-made one, or one of another kind, is made anew. PYTHON names the interpreter.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
requirements=$root/requirements
die() { printf 'setup_env.sh: %s\n' "$1" >&2; shift; [ $# -eq 0 ] || printf '%s\n' "$@" >&2; exit 2; }
say() { echo "[setup] $*"; }

stack=openmmlab mmcv=lite torch='' venv='' dev=true deps_only=false
while [ $# -gt 0 ]; do
    case $1 in
        --stack | --mmcv | --torch | --venv) [ $# -ge 2 ] || die "$1 needs a value"; declare "${1#--}=$2"; shift ;;
        --no-dev) dev=false ;;
        --deps-only) deps_only=true ;;
        -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit ;;
        *) die "unknown option '$1' (--help lists them)" ;;
    esac
    shift
done
one_of() { case " ${*:3} " in *" $2 "*) ;; *) die "$1 must be ${3} or $4, got '$2'" ;; esac; }
one_of --stack "$stack" openmmlab onedl
one_of --mmcv "$mmcv" lite compiled
default_venv=$root/.venv
[ "$stack" = openmmlab ] || default_venv+=-$stack
[ "$mmcv" = lite ] || default_venv+=-$mmcv
case ${venv:=$default_venv} in /*) ;; *) venv=$PWD/$venv ;; esac
stamp=$venv/.mmvision_mamba python=$venv/bin/python
: "${torch:=$(sed -n 's/.* torch=\([a-z]*\) .*/\1/p' "$stamp" 2>/dev/null)}"
one_of --torch "${torch:=default}" default cpu

# Which Python. An environment that exists keeps its own unless PYTHON asks for another; a virtual environment's python
# stands for the one it was made from, because the environment itself may have to go.
newest=$([ "$mmcv" = lite ] && echo 13 || echo 12)  # nobody has compiled mmcv for a later one
describe='
import platform, sys
assert (3, 10) <= sys.version_info[:2] <= (3, '$newest')
version = "cp{}{}".format(*sys.version_info)
print(f"{version}-{platform.system().lower()}-{platform.machine()}", getattr(sys, "_base_executable", sys.executable))'
for candidate in "${PYTHON:-$python}" "${PYTHON:-python3}" python3.13 python3.12 python3.11 python3.10; do
    found=$("$candidate" -c "$describe" 2>/dev/null) && break
    [ -z "${PYTHON:-}" ] || die "PYTHON=$PYTHON is not a Python 3.10 to 3.$newest"
done
[ -n "$found" ] || die "no Python 3.10 to 3.$newest found: install one, or name it with PYTHON=/path/to/python"
platform=${found%% *} host_python=${found#* }

# The versions. What constraints-compiled.txt names replaces the line of constraints.txt.
constraints() {
    awk -F '[= ]' 'NR == FNR {own[$1]} NR == FNR || !($1 in own)' \
        "$([ "$mmcv" = lite ] && echo /dev/null || echo "$requirements/constraints-compiled.txt")" \
        "$requirements/constraints.txt"
}
pin() { constraints | sed -n "s/^$1==\([^ ;]*\).*/\1/p"; }

flavour=''
# shellcheck source=tools/compile_mmcv.sh
[ "$mmcv" = lite ] || . "$root/tools/compile_mmcv.sh"

# The stamp says what the environment is (another path, Python, torch, stack or mmcv, or none yet: it is made anew), and
# what was installed (anything else: pip brings it up to date).
identity="$venv $platform $stack mmcv=$mmcv$flavour torch=$torch $(pin torch)"
sources=$({ cat "$requirements"/*.txt "$root"/tools/{setup_env,compile_mmcv}.sh "$root"/{setup.py,pyproject.toml} \
    2>/dev/null || $deps_only; } | cksum)
state="$identity $root $sources dev=$dev deps-only=$deps_only"
finished() { [ -x "$python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$state" ]; }
finished && exit 0

# Two `make` at once in one clone take turns (the lock is on the folder itself and ends with the process).
mkdir -p "$venv"
exec 8< "$venv"
flock --nonblock 8 || { say "another set-up is at work on $venv; waiting for it"; flock 8; }
finished && exit 0

# Runs a command whose output goes to a log, and shows that it is alive: on a terminal one line that changes each
# second, elsewhere a line each half minute.
with_progress() {  # LOG COMMAND...
    local log=$1 status=0
    shift
    show_progress "$log" 8<&- 9<&- & watcher=$!
    trap 'kill $watcher 2>/dev/null || true' EXIT
    "$@" > "$log" 2>&1 || status=$?
    kill $watcher 2>/dev/null || true
    wait $watcher 2>/dev/null || true
    trap - EXIT
    [ ! -t 1 ] || printf '\r\033[K'
    return $status
}

show_progress() {  # LOG
    local every=30 form='[setup]     %s\n' line packages start=$SECONDS
    [ ! -t 1 ] || { every=1; form='\r\033[K        %s'; }
    while sleep $every > /dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
        packages=$(find "$venv/lib" -maxdepth 3 -name '*.dist-info' 2>/dev/null | wc -l)
        line=$(grep -E '^ *(Collecting|Downloading|Building|Installing|\[[0-9]+/)' "$1" 2>/dev/null | tail -n 1 \
            | sed 's/^ *//; s/Installing collected.*/installing/' | cut -c 1-60) || true
        # shellcheck disable=SC2059
        printf "$form" "$((SECONDS - start)) s, $packages packages installed${line:+; $line}"
    done
}

try_pip() {
    with_progress "$venv/pip.log" "$python" -m pip --disable-pip-version-check --no-input --retries 3 "$@" && return
    grep -qE 'NewConnectionError|NameResolutionError|ConnectTimeoutError|ReadTimeoutError|ProxyError' "$venv/pip.log" \
        && die "the package index can't be reached: connect to the network or set pip's index-url, then run this again"
    return 1
}

pip() {
    try_pip "$@" && return
    tail -n 15 "$venv/pip.log" >&2
    die "pip $1 failed (above and in $venv/pip.log)"
}

install() { pip install --constraint "$venv/constraints.txt" "$@"; }

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

# Both wheels have the local version +cpu. A torchvision works with no torch but the one it was built with.
install_cpu_torch() {
    local name there='' index=(${TORCH_INDEX:+"--extra-index-url=$TORCH_INDEX"})
    try_pip install --no-deps "${index[@]}" "torch==$(pin torch)+cpu" "torchvision==$(pin torchvision)+cpu" && return
    for name in torch torchvision; do
        there+=$("$python" -m pip index versions "${index[@]}" $name 2>/dev/null | grep -o '[0-9.]*+cpu' | sort -u \
            | sed "s/^/ $name /") || true
    done
    die "--torch cpu: pip has no torch $(pin torch)+cpu with torchvision $(pin torchvision)+cpu, but:${there:- none}" \
        "name an index that has both by TORCH_INDEX=URL, or a folder by PIP_FIND_LINKS=FOLDER (why: $venv/pip.log)"
}

say "1/3 torch $(pin torch), timm$([ "$torch" = cpu ] || echo ' (about 5 GB with the CUDA libraries, a minute or two)')"
case $(cat "$stamp" 2>/dev/null) in
    "$identity "*) [ -x "$python" ] || make_venv ;;
    *) make_venv ;;
esac
constraints > "$venv/constraints.txt"
install pip
if [ "$torch" = cpu ] && [ "$(uname)" = Linux ]; then  # elsewhere PyPI's has no CUDA libraries
    install_cpu_torch
fi
install -r "$requirements/torch.txt"
[ -s "$stamp" ] || echo "$identity unfinished" > "$stamp"

wanted=(setuptools -r "$requirements/torch.txt" -r "$requirements/tools.txt")
! $dev || wanted+=(-r "$requirements/dev.txt")
if [ "$mmcv" = lite ]; then
    # onedl-mmcv comes as sources: without torch, in pip's isolated build, they make a wheel of Python alone.
    wanted+=(-r "$requirements/$stack.txt")
else
    if wheel > /dev/null; then
        say "    $compiled $(pin "$compiled"), compiled before: $wheels"
    else
        say "    $compiled $(pin "$compiled"): compiling it, once on this machine (7 to 15 minutes on two cores)"
        compile_mmcv
    fi
    grep -v mmcv "$requirements/$stack.txt" > "$venv/stack.txt"
    wanted+=("$(wheel)" -r "$venv/stack.txt")
fi
say "2/3 the $stack stack and the tools"
install "${wanted[@]}"

modules=mmcv,mmdet,mmengine,mmseg,torchvision
if ! $deps_only; then
    say '3/3 mmvision_mamba itself, editable'
    pip install --no-deps --no-build-isolation --editable "$root"
    modules+=,mmcv.ops,mmvision_mamba
    # For notebooks, label tools and whatever else imports mmdet first.
    [ "$mmcv" = compiled ] || "$python" -m mmvision_mamba setup-mmcv > "$venv/setup-mmcv.log" 2>&1 \
        || die "mmvision-mamba setup-mmcv failed: $(tail -n 1 "$venv/setup-mmcv.log") ($venv/setup-mmcv.log)"
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
! $dev || $deps_only || install_browser

echo "$state" > "$stamp"
say "done: $stack stack, $mmcv mmcv, torch $(pin torch), in $venv"
if [ "$flavour" = cpu ] && has_gpu; then
    say "note: mmcv is without its CUDA operators, so detectors can't run on the GPU of this machine;"
    say "      for them install the CUDA $cuda toolkit and run this again, or leave mmcv to the default (lite)"
fi
