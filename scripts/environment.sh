# Sourced by the scripts beside it: makes .venv where it is missing or out of date.
#
#   ensure_environment EXTRAS      # such as "plot" or "plot,test"
#
# .venv/stamp-EXTRAS holds a checksum of what the environment was made from. PYTHON
# chooses the interpreter (>= 3.11); VENV another folder. A later call only compares.

# The caller's folder stays the current one, so that paths on the command line mean
# what they say there.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) || exit 1
VENV=${VENV:-$ROOT/.venv}
case $VENV in /*) ;; *) VENV=$PWD/$VENV ;; esac

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  if [ -n "${PYTHON:-}" ]; then
    echo "PYTHON=$PYTHON is no Python >= 3.11 that starts." >&2
  else
    echo "No Python >= 3.11 found; install one, or name it: PYTHON=/path/to/python $0" >&2
  fi
  return 1
}

ensure_environment() {
  local extras=$1 python sum stamp old
  sum=$(cat "$ROOT/pyproject.toml" "$ROOT/constraints.txt" | cksum)
  stamp="$VENV/stamp-${extras//,/-}"
  if [ -x "$VENV/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$sum" ] &&
    { [ -z "${PYTHON:-}" ] || [ "$PYTHON" = "$(cat "$VENV/python" 2>/dev/null)" ]; }; then
    return
  fi
  python=$(find_python) || exit 1
  echo "Setting up $VENV ($("$python" --version), extras: $extras); once, a minute or two." >&2
  if [ ! -x "$VENV/bin/python" ] ||
    [ "$("$VENV/bin/python" -c 'import sys; print(sys.version_info[:2])')" != \
      "$("$python" -c 'import sys; print(sys.version_info[:2])')" ]; then
    rm -rf "$VENV"
    if command -v uv >/dev/null; then
      uv venv --quiet --python "$python" "$VENV" || exit 1
    else
      "$python" -m venv "$VENV" || exit 1
    fi
  fi
  for old in "$VENV"/stamp-*; do # a change makes the environments of all extras stale
    if [ -e "$old" ] && [ "$(cat "$old")" != "$sum" ]; then rm -f "$old"; fi
  done
  if command -v uv >/dev/null; then
    uv pip install --quiet --python "$VENV/bin/python" -c "$ROOT/constraints.txt" -e "$ROOT[$extras]" || exit 1
  else
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check \
      -c "$ROOT/constraints.txt" -e "$ROOT[$extras]" || exit 1
  fi
  echo "${PYTHON:-}" >"$VENV/python"
  echo "$sum" >"$stamp"
}
