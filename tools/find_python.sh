#!/bin/sh
# Print the command of a Python that is new enough, or say in one sentence why there is none.
#
# PYTHON, when set, is taken at its word and nothing else is tried. Without it python3 comes
# first, and the numbered names after it, because many systems keep an old python3 beside them.
# The probes run on any Python, however old.

new_enough='import sys; sys.exit(sys.version_info < (3, 11))'
version='import sys; print("%d.%d.%d" % sys.version_info[:3])'
advice="install one, or name one you have: make PYTHON=/path/to/python3.12 run"

if [ -n "$PYTHON" ]; then
    set -- "$PYTHON"
else
    set -- python3 python3.13 python3.12 python3.11 python3.14 python
fi

found=""
for candidate in "$@"; do
    if "$candidate" -c "$new_enough" >/dev/null 2>&1; then
        echo "$candidate"
        exit 0
    fi
    # pyenv leaves names on the PATH that start nothing: only one that answers is reported.
    if answer=$("$candidate" -c "$version" 2>/dev/null); then
        found="${found:+$found, }$candidate is Python $answer"
    fi
done

if [ -n "$found" ]; then
    echo "kdnb needs Python 3.11 or newer, but $found: $advice" >&2
elif [ -n "$PYTHON" ]; then
    echo "kdnb needs Python 3.11 or newer, but PYTHON=$PYTHON does not run: $advice" >&2
else
    echo "kdnb needs Python 3.11 or newer, and none was found on the PATH: $advice" >&2
fi
exit 1
