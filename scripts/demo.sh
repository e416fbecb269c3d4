#!/usr/bin/env bash
# Sets up .venv if it is not there and runs `python -m llava_v2xum.infer` with the arguments; without any, on the demo
# clip that ships with the package.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/environment.sh"

python=$(find_python 3.12 3.11 3.10) || fail "Python 3.10, 3.11 or 3.12 with venv is needed, and none was found"
(cd "$root" && make_environment .venv "$python" scripts/current.lock $tools)
[ $# -gt 0 ] || set -- "$root/llava_v2xum/shapes/clips/demo.mp4"
exec "$root/.venv/bin/python" -m llava_v2xum.infer "$@"
