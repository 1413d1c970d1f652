#!/bin/sh
# The relay of this slot, with its own libraries and nothing of the user's.
slot=$(dirname "$(dirname "$(readlink -f "$0")")")
export PYTHONPATH="$slot:$slot/lib" PYTHONSAFEPATH=1 PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1
exec "$(cat "$slot/python")" -m relay "$@"
