# Sourced by the scripts beside it: makes the virtual environments that they need.
#
#   make_environment FOLDER PYTHON PACKAGE...   installs the packages, this project (editable) and llava
#
# An environment that is there and was made for the same packages is used again.

fail() { echo "error: $*" >&2; exit 1; }

find_python() { # find_python VERSION...: the first of these Pythons that is installed and can make environments
    local version name
    for version in "$@"; do
        for name in "python$version" python3 python; do
            if [ "$("$name" -c 'import ensurepip, sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$version" ]; then
                command -v "$name"
                return 0
            fi
        done
    done
    return 1
}

make_environment() {
    local folder=$1 python=$2
    shift 2
    local stamp
    stamp="$("$python" --version) $* $(cksum <setup.py)"
    if [ -f "$folder/.made-for" ] && [ "$(cat "$folder/.made-for")" = "$stamp" ]; then
        return 0
    fi
    echo "setting up $folder ($("$python" --version)); this downloads PyTorch and takes some minutes ..." >&2
    rm -rf "$folder"
    "$python" -m venv "$folder" || fail "could not make a virtual environment in $folder"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade pip setuptools wheel ||
        fail "could not upgrade pip in $folder"
    # the packages come in one call, so that pip settles on releases that fit one another
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@" ||
        fail "could not install into $folder"
    # llava's metadata pins torch 2.0.1, which has no place in either environment
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps llava-torch==1.2.2.post1 ||
        fail "could not install llava-torch into $folder"
    echo "$stamp" >"$folder/.made-for"
}
