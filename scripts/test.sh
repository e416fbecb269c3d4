#!/usr/bin/env bash
# Sets up fresh environments if they are not there, checks the style and runs the tests: all of them with the newest
# releases, and those marked `pinned` also with the releases that LLaVA pins. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

current=$(find_python 3.11 3.12 3.10) || fail "Python 3.10, 3.11 or 3.12 with venv is needed, and none was found"
make_environment .venv-test "$current" -e ".[test,train,qlora,metrics,bertscore,curate,ray]"
.venv-test/bin/ruff check .
.venv-test/bin/python -m pytest "$@"

if ! pinned=$(find_python 3.11 3.10); then
    [ -z "${CI:-}" ] || fail "Python 3.10 or 3.11 is needed for torch 2.1.2, and none was found"
    echo "NOT RUN: the tests with LLaVA's pins, which need Python 3.10 or 3.11 (torch 2.1.2 has no other wheels)" >&2
    exit 0
fi
make_environment .venv-pinned "$pinned" -e ".[test,metrics]" \
    torch==2.1.2 torchvision==0.16.2 transformers==4.37.2 peft==0.10.0 accelerate==0.21.0 "numpy<2"
.venv-pinned/bin/python -m pytest -m pinned "$@"
