# shellcheck shell=bash disable=SC2154  # stack, platform, python, host_python and venv are setup_env.sh's
# mmcv with its own operators, compiled from its sources: read by tools/setup_env.sh for --mmcv compiled.
#
# It is compiled once per Python, torch, platform, and CPU or CUDA. The wheel is kept in $MMVISION_MAMBA_CACHE (default
# ~/.cache/mmvision_mamba) for every other clone; not in pip's own cache, which would offer it to a later torch that it
# does not fit.
#
# CUDA operators are compiled where there is a GPU and an nvcc of torch's CUDA version. FORCE_CUDA=1 compiles them
# anywhere, for the GPUs of TORCH_CUDA_ARCH_LIST ('8.0;9.0+PTX'); FORCE_CUDA=0 leaves them out. MAX_JOBS is the number
# of compilers to run at once.

cuda=$(pin cuda-toolkit | cut -d. -f1,2)
has_gpu() { [ -e /dev/nvidiactl ] || [ -e /dev/dxg ]; }
has_nvcc() { "${CUDA_HOME:+$CUDA_HOME/bin/}nvcc" --version 2>/dev/null | grep -q "release $cuda,"; }

if [ -z "${FORCE_CUDA:-}" ]; then
    has_gpu && has_nvcc && FORCE_CUDA=1 || FORCE_CUDA=0
fi
export FORCE_CUDA
if [ "$FORCE_CUDA" = 1 ]; then
    has_nvcc || die "FORCE_CUDA=1: no nvcc of CUDA $cuda, which torch $(pin torch) is built with; set CUDA_HOME or PATH"
    gpus() { nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | sort -u | paste -sd';'; }
    : "${TORCH_CUDA_ARCH_LIST:=$(gpus)}"
    [ -n "$TORCH_CUDA_ARCH_LIST" ] \
        || die "FORCE_CUDA=1: no GPU seen here; set TORCH_CUDA_ARCH_LIST, as in '8.0;9.0+PTX'"
    export TORCH_CUDA_ARCH_LIST
    flavour=cuda-${TORCH_CUDA_ARCH_LIST//[ ;]/-}
else
    flavour=cpu
fi

compiled=$([ "$stack" = onedl ] && echo onedl-mmcv || echo mmcv)
wheels=${MMVISION_MAMBA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mmvision_mamba}/wheels
wheels+=/$platform-torch$(pin torch)-$flavour
wheel() { find "$wheels" -maxdepth 1 -name "${compiled//-/_}-$(pin "$compiled")-*.whl" 2>/dev/null | grep -m 1 .; }

compile_mmcv() {
    local build=$wheels/$compiled-build log=$wheels/$compiled.log memory
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
        pip download --no-deps --no-build-isolation --no-binary "$compiled" --dest "$build" \
            "$compiled==$(pin "$compiled")"
        tar -xzf "$build"/*.tar.gz -C "$build/unpacked" --strip-components=1
        mv "$build/unpacked" "$build/source"
    fi
    memory=$(awk '/MemAvailable/ {print int($2 / 2500000) + 1}' /proc/meminfo)  # the largest file takes 2.4 GB
    : "${MAX_JOBS:=$(($(nproc) < memory ? $(nproc) : memory))}"
    (
        export PATH=$venv/bin:$PATH MMCV_WITH_OPS=1 MAX_JOBS
        [ "$FORCE_CUDA" = 1 ] || export CUDA_VISIBLE_DEVICES=  # mmcv compiles for CUDA wherever torch sees a GPU
        with_progress "$log" "$python" -m pip --disable-pip-version-check wheel --verbose --no-deps \
            --no-build-isolation --no-cache-dir --wheel-dir "$build" "$build/source"
    ) || { grep -E 'error|Error' "$log" | tail -n 15 >&2; die "$compiled did not compile (above and in $log)"; }
    mv "$build"/*.whl "$wheels"
    rm -rf "$build" "$log"
    exec 9<&-
}
