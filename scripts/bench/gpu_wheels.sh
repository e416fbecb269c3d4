#!/usr/bin/env bash
# Makes the folder of wheels that gpu.py --wheels takes on a machine without a network: packages that a machine with
# PyTorch and transformers may lack, in the versions of current.lock, for Python 3.12 on Linux and x86-64.
#
#   bash scripts/bench/gpu_wheels.sh FOLDER
#
# The folder holds 40 MB at most: what does not fit is left out and named. The first ones are needed most.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: bash scripts/bench/gpu_wheels.sh FOLDER" >&2; exit 2; }
mkdir -p "$1"
folder=$(cd "$1" && pwd)
cd "$(dirname "$0")/../.."
. scripts/environment.sh
most=40000000
python=$(find_python 3.12) || fail "Python 3.12 with venv is needed, and was not found"
one=$(mktemp -d)
trap 'rm -rf "$one"' EXIT
rm -f "$folder"/*.whl
total=0
for name in llava-torch peft av open-clip-torch ftfy wcwidth timm bitsandbytes; do
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --python-version 3.12 --implementation cp --platform manylinux_2_28_x86_64 \
        --platform manylinux_2_24_x86_64 --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 \
        --constraint scripts/current.lock --dest "$one" "$name" || fail "no wheel of $name could be had"
    file=$(echo "$one"/*.whl)
    size=$(stat --format %s "$file")
    if [ $((total + size)) -le $most ]; then
        mv "$file" "$folder"
        total=$((total + size))
    else
        echo "left out: $(basename "$file"), whose $((size / 1000000)) MB do not fit"
        rm "$file"
    fi
done
echo "$folder: $((total / 1000000)) MB"
