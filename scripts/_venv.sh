# Sourced by the other scripts: goes to the checkout and makes .venv ready, at the cost of a checksum when it already is.
#
#   . _venv.sh "$(readlink -f -- "${BASH_SOURCE[0]}")" "server,postgres"
#
# The stamp in .venv says what it was made for: line 1 a checksum of what was installed from and where,
# line 2 the extras. Extras add up, so that `serve` and `test` do not undo each other.

set -euo pipefail

root=$(dirname -- "$(dirname -- "$1")")
extras=$2
cd -- "$root"
root=$PWD
stamp=.venv/sessioncast-stamp

say() { printf '%s\n' "$*" >&2; }

checksum() {
    # The place belongs to it: the commands inside a venv name their interpreter by its absolute path.
    { printf '%s\n' "$root"; cat pyproject.toml constraints.txt; } | cksum
}

ready() {
    [[ -f $stamp && -x .venv/bin/python ]] || return 1
    local made_for has want
    { read -r made_for && read -r has; } <"$stamp" || return 1
    [[ $made_for == "$1" ]] || return 1
    for want in ${extras//,/ }; do
        [[ ",$has," == *",$want,"* ]] || return 1
    done
}

find_python() {
    local candidate
    for candidate in python3.13 python3.12 python3.11 python3; do
        # Asked rather than trusted: a shim may stand for a version that is not there, and Debian splits off ensurepip.
        if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    say "sessioncast needs Python 3.11 or newer with venv, and found none (python3.13, python3.12, python3.11, python3)."
    say "On Debian and Ubuntu: apt-get install python3 python3-venv"
    return 1
}

set_up() {
    local sum=$1 python made_for="" has="" union
    if [[ -f $stamp ]]; then
        { read -r made_for && read -r has; } <"$stamp" || true
    fi
    # A venv that was moved, left half-made or whose base Python went away is not worth mending.
    if [[ ! -f .venv/made-in || $(<.venv/made-in) != "$root" ]] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        python=$(find_python)
        say "Making .venv with $("$python" --version)"
        "$python" -m venv --clear .venv
        printf '%s\n' "$root" >.venv/made-in
        has=""
    fi
    union=$(tr ',' '\n' <<<"$extras,$has" | sed '/^$/d' | sort -u | paste -sd, -)
    say "Installing sessioncast[$union] into .venv"
    # Without the stamp an interrupted installation is begun again instead of believed.
    rm -f "$stamp"
    .venv/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[$union]" >&2
    printf '%s\n%s\n' "$sum" "$union" >"$stamp.new"
    mv "$stamp.new" "$stamp"
}

ensure_venv() {
    local sum
    sum=$(checksum)
    ready "$sum" && return
    (
        # One at a time; who waited finds it done. Locked is the folder itself: no lock file is left behind.
        if command -v flock >/dev/null; then
            flock 9
        fi
        ready "$sum" || set_up "$sum"
    ) 9<"$root"
}

ensure_venv
