# Sourced by the other scripts: makes .venv beside them, once for each state of the requirements, and enters it.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
stamp=.venv/installed
wanted=$(cat requirements.txt pyproject.toml | sha256sum)
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
  echo "installing into .venv (some minutes the first time)"
  "${PYTHON:-python3}" -m venv --clear .venv
  # an older pip, such as Debian 12's, takes no build options in a requirements file
  .venv/bin/python -m pip install --quiet --disable-pip-version-check "pip>=23.1"
  # not compiled: of 22,000 files most are never imported, and those that are, Python compiles when they are
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -r requirements.txt
  echo "$wanted" > "$stamp"
fi
source .venv/bin/activate
