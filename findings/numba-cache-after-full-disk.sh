#!/usr/bin/env bash
# Numba's disk cache, after a write that failed for want of room: an edited function keeps its old result for good.
#
# Seen with numba 0.68.1 (llvmlite 0.50.0, numpy 2.4.6) on CPython 3.11, Linux x86-64.
#
# A function of a cached module is compiled and kept: an index file, stamped with the source, names a data file. The
# source is edited: `outer` calls another helper now. In the next process there is room for the index but none for the
# data, as on a disk that is nearly full (here by a limit on the size of files). Numba writes the new index first, under
# the new stamp, then fails on the data and raises; the data file of the old source stays, under the name that the new
# index gives. From then on, with room again, every process loads it as current and computes what the old source said.
# The same can be read for a moment between the two writes by another process.
#
# Whoever keeps kernels by Numba's `cache=True` is concerned; a file that holds stamp and code together is not.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python="${PYTHON:-$(command -v python3.11 || command -v python3)}"
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'numba==0.68.1' 'llvmlite==0.50.0' 'numpy==2.4.6'
cd "$folder"
export NUMBA_CACHE_DIR="$folder/cache"

write_module() {
    cat > kernels.py <<PY
from numba import njit


@njit
def one(x):
    return x + 1.0


@njit
def two(x):
    return x + 2.0


helper = $1


@njit(cache=True)
def outer(x):
    return helper(x)
PY
}

run() { "$folder/venv/bin/python" -c 'import kernels; print(kernels.outer(0.0))'; }

write_module one
first="$(run)"
write_module two
# The index takes some hundred bytes, the data some thousands.
set +e
message="$(ulimit -f 2; run 2>&1)"
status=$?
set -e
again="$(run)"
fresh="$(NUMBA_CACHE_DIR="$folder/other" run)"

echo "old source: $first"
echo "edited, no room for data: exit status $status, $(tail -n 1 <<< "$message")"
echo "edited, room again: $again (without the cache: $fresh)"
if [[ "$first" == 1.0 && "$status" != 0 && "$message" == *"File too large"* && "$again" == 1.0 && "$fresh" == 2.0 ]]; then
    echo "as seen: the cache gives the old result"
else
    echo "this has changed" >&2
    exit 1
fi
