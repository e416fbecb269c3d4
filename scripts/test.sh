#!/usr/bin/env bash
# Sets up environments from the lock files if they are not there, checks style, imports and types, and runs the tests:
# all of them with the newest Python, those marked `every_python` with the two others, those marked `pinned` with the
# releases that LLaVA pins. Arguments go to pytest.
#
#   bash scripts/test.sh --newest     all tests with the newest releases instead, and what each of them breaks
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

# several files of tests at once: most tests start commands of one thread and wait for them
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
together=(-n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder)

python=$(find_python 3.12 3.11 3.10) || fail "Python 3.10, 3.11 or 3.12 with venv is needed, and none was found"
make_environment .venv-test "$python" scripts/current.lock
if [ "${1:-}" = --newest ]; then
    shift
    exec .venv-test/bin/python scripts/drift.py "${together[@]}" "$@"
fi
.venv-test/bin/ruff check .
.venv-test/bin/lint-imports
.venv-test/bin/mypy
.venv-test/bin/python -m pytest "${together[@]}" "$@"

marked() { # marked FOLDER MARKER ARGUMENT...: the tests that have the marker; a selection by arguments may have none
    local folder=$1 marker=$2 status=0
    shift 2
    "$folder/bin/python" -m pytest "${together[@]}" -m "$marker" "$@" || status=$?
    [ "$status" -eq 0 ] || { [ "$status" -eq 5 ] && [ $# -gt 0 ]; } || exit "$status"
}

absent() { # absent WHICH PYTHON: in CI what is not there fails where pyenv is, which has all three
    [ -z "${CI:-}" ] || [ ! -d "$(pyenv_versions)" ] || fail "Python $2 is needed for $1, and none was found"
    echo "NOT RUN: $1, which need Python $2" >&2
}

for version in 3.12 3.11 3.10; do
    if ! other=$(find_python "$version"); then
        absent "the tests with each Python" "$version"
    elif [ "$("$other" --version)" != "$("$python" --version)" ]; then
        make_environment ".venv-$version" "$other" scripts/current.lock
        marked ".venv-$version" every_python "$@"
    fi
done

if pinned=$(find_python 3.11 3.10); then
    make_environment .venv-pinned "$pinned" scripts/pinned.lock
    marked .venv-pinned pinned "$@"
else
    absent "the tests with LLaVA's pins" "3.10 or 3.11"
fi
