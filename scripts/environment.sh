# Sourced by the scripts beside it: makes the virtual environments that they need, with the versions of a lock file.

# what an environment has beside setup.py's packages; llava-torch's dependencies are left out (pyproject.toml)
tools="llava-torch pip setuptools uv wheel"

fail() { echo "error: $*" >&2; exit 1; }

pyenv_versions() { echo "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions"; }

find_python() { # find_python VERSION...: the first of these Pythons that is installed and can make environments
    local version name
    for version in "$@"; do
        # pyenv's commands are on the PATH for all its versions, and fail for those that are not selected
        for name in "python$version" python3 python "$(pyenv_versions)/$version".*/bin/python; do
            if [ "$("$name" -c 'import ensurepip, sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$version" ]; then
                command -v "$name"
                return 0
            fi
        done
    done
    return 1
}

make_uv() { # make_uv FOLDER PYTHON LOCK: a new environment that has nothing but the lock's uv
    rm -f "$1/.made-for" # first, so that a folder which is half gone is not taken for whole
    rm -rf "$1"
    "$2" -m venv "$1" || fail "could not make a virtual environment in $1"
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check "$(grep '^uv==' "$3")" ||
        fail "could not install uv into $1"
}

run_uv() { # run_uv FOLDER ARGUMENT...: the folder's uv for its Python; it looks where pip is set to look
    local folder=$1 index=${UV_DEFAULT_INDEX:-${UV_INDEX_URL:-${PIP_INDEX_URL:-}}}
    shift
    [ -n "$index" ] || index=$("$folder/bin/python" -m pip config get global.index-url 2>/dev/null) || index=
    UV_DEFAULT_INDEX=$index "$folder/bin/uv" --quiet pip "$@" --python "$folder/bin/python"
}

compile_lock() { # compile_lock FOLDER FILE ARGUMENT...: FOLDER's uv writes the versions that fit setup.py and stdin
    local folder=$1 file=$2
    shift 2
    { printf '%s\n' $tools && cat; } |
        run_uv "$folder" compile --no-annotate --custom-compile-command "bash scripts/lock.sh" \
            --output-file "$file" "$@" setup.py - >/dev/null || fail "could not write $file"
}

# make_environment FOLDER PYTHON LOCK [PACKAGE...]: this project (editable) and all of the lock; with packages given,
# those and what they, the project and its model need, in the lock's versions. One that was made for the same is used again.
make_environment() {
    local folder=$1 python=$2 lock=$3 stamp
    shift 3
    stamp=$("$python" --version && echo "in $PWD: ${*:-everything}" && cat setup.py "$lock")
    if [ -f "$folder/.made-for" ] && [ "$(cat "$folder/.made-for")" = "$stamp" ]; then
        return 0
    fi
    echo "setting up $folder ($("$python" --version)); this downloads PyTorch, which can take some minutes ..." >&2
    make_uv "$folder" "$python" "$lock"
    if [ $# -eq 0 ]; then
        set -- --no-deps --requirements "$lock"
    else
        set -- --constraints "$lock" "$@"
    fi
    run_uv "$folder" install --build-constraints "$lock" --editable ".[model]" "$@" || fail "could not install into $folder"
    echo "$stamp" >"$folder/.made-for"
}
