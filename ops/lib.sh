# lib.sh: what the commands of this folder share. Sourced, not run; the caller has set -euo pipefail.
# shellcheck shell=bash

umask 022 # the servers' users must come through our folders

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

say() {
    printf '%s\n' "$*" >&2
}

die() {
    local code=$1
    shift
    say "${0##*/}: $*"
    exit "$code"
}

# A short name of a text, for folders.
hash_of() {
    printf '%s' "$1" | sha256sum | cut -c1-12
}

is_root() {
    [ "$(id -u)" -eq 0 ]
}

# Where what we make at run time lives. Never in the checkout: Postgres and Redis run as users of their own, who
# cannot enter a home folder.
state_folder() {
    local base
    if is_root; then
        base=/var/lib/settle-dev
    else
        base=${XDG_STATE_HOME:-$HOME/.local/state}/settle
    fi
    printf '%s/%s\n' "$base" "$(hash_of "$top")"
}

# Asks a command again and again until it succeeds, up to 30 s.
wait_for() {
    local i
    for ((i = 0; i < 600; i++)); do
        if "$@"; then
            return
        fi
        sleep 0.05
    done
    return 1
}

# Builds into folder $1 with meson's further arguments; quick when nothing has changed. What it says is in $1/build.log.
build() {
    local folder=$1
    shift
    mkdir -p "$folder"
    if [ -e "$folder/build.ninja" ]; then
        ninja -C "$folder" >"$folder/build.log" 2>&1
    else
        { meson setup "$@" "$folder" "$top" && ninja -C "$folder"; } >"$folder/build.log" 2>&1
    fi
}

# Brings the database at URL $1 to the newest schema, as the user that PGUSER names. Quick when it is there already.
migrate() {
    local log
    if schema_is_current "$1"; then
        return
    fi
    log=$(mktemp)
    if ! (cd "$top/sql" && SQITCH_FULLNAME=settle SQITCH_EMAIL=settle@localhost sqitch deploy "db:$1" >"$log" 2>&1); then
        cat "$log" >&2
        die 69 "the schema cannot be deployed"
    fi
    rm -f "$log"
}

# sqitch takes half a second to find that there is nothing to do.
schema_is_current() {
    local there planned
    there=$(psql -XqAt "$1" -c 'select change from settle.schema_version' 2>/dev/null) || return 1
    planned=$(sed -n 's/^\([a-z][a-z0-9_]*\) .*/\1/p' "$top/sql/sqitch.plan")
    [ -z "$(comm -23 <(sort <<<"$planned") <(sort <<<"$there"))" ]
}
