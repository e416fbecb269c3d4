#!/usr/bin/env bash
# Writes the lock files beside it from setup.py's ranges: every package and its version, for Python 3.10 to 3.12, Linux
# and macOS, x86-64 and arm64. Versions that are locked already stay where the ranges allow them. Arguments go to uv:
#
#   bash scripts/lock.sh                                    # setup.py has changed
#   bash scripts/lock.sh --upgrade                          # the newest release of everything
#   bash scripts/lock.sh --upgrade-package transformers     # of one package
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

python=$(find_python 3.12 3.11 3.10) || fail "Python 3.10, 3.11 or 3.12 with venv is needed, and none was found"
make_uv .venv-lock "$python" scripts/current.lock

# the newest PyTorch that has wheels for all three Pythons: 2.15 has none for 3.10
printf '%s\n' torch==2.14.1 torchvision==0.29.1 |
    compile_lock .venv-lock scripts/current.lock --universal --python-version 3.10 --all-extras "$@"

# LLaVA's pins; torch 2.1.2 is built for NumPy 1 and has wheels for Python 3.10 and 3.11
printf '%s\n' torch==2.1.2 torchvision==0.16.2 transformers==4.37.2 peft==0.10.0 accelerate==0.21.0 "numpy<2" |
    compile_lock .venv-lock scripts/pinned.lock --universal --python-version 3.10 --extra model --extra test --extra metrics "$@"
