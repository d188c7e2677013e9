#!/bin/sh
# Writes .env beside docker-compose.yml (or the file named) from .env.example, each required secret random.
# usage: deploy/init-env.sh [--sandbox] [file]
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
sandbox=no
if [ "${1:-}" = --sandbox ]; then
    sandbox=yes
    shift
fi
target=${1:-$root/.env}

# Hex has no character that a URL, a shell or YAML reads in its own way.
secret() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

fill() {
    while IFS= read -r line; do
        case $line in
            [A-Z]*=) printf '%s%s\n' "$line" "$(secret)" ;;
            '# COMPOSE_PROFILES='* | '# SONANT_SANDBOX_URL='*)
                if [ "$sandbox" = yes ]; then line=${line#\# }; fi
                printf '%s\n' "$line"
                ;;
            *) printf '%s\n' "$line" ;;
        esac
    done
}

content=$(fill <"$root/.env.example")
umask 077
# noclobber: the check and the creation are one step, and a file that is there stays as it is.
set -C
if ! printf '%s\n' "$content" 2>/dev/null >"$target"; then
    echo "$target exists already or cannot be written: nothing changed" >&2
    exit 1
fi
echo "wrote $target (readable by you alone)"
