#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs a wheel as a user would, into fresh virtual environments from which no Swift can be reached, and uses it there.
# usage: check-wheel.sh WHEEL VERSION INTERPRETER...
# An interpreter is a path, or a version such as 3.13 or 3.14t, which is looked for on PATH, among pyenv's, and with uv, which
# fetches what it can.  A version that cannot be had is reported and is no failure.
set -euo pipefail
cd "$(dirname "$0")/../.."
wheel=$(realpath "$1")
version=$2
shift 2
tools=$PWD/.venv/bin
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() {
    echo "check-wheel: $1" >&2
    exit 1
}

# ---- The archive

"$tools/python" - "$wheel" "$version" <<'PYTHON' || fail "the archive is not as it should be"
import email, re, sys, zipfile

wheel, version = sys.argv[1:]
assert re.search(rf"/layerwise-{re.escape(version)}-py3-none-manylinux_2_34_x86_64\.whl$", wheel), wheel
with zipfile.ZipFile(wheel) as archive:
    names = set(archive.namelist())
    information = f"layerwise-{version}.dist-info"
    licences = {name: archive.read(name).decode() for name in names if name.startswith(f"{information}/licenses/")}
    metadata = email.message_from_bytes(archive.read(f"{information}/METADATA"))
    scripts = archive.read(f"{information}/entry_points.txt").decode()
    tags = email.message_from_bytes(archive.read(f"{information}/WHEEL")).get_all("Tag")
assert {"layerwise/liblayerwise.so", "layerwise/py.typed", "layerwise/torch/__init__.py"} <= names, names
assert tags == ["py3-none-manylinux_2_34_x86_64"], tags
assert any("Apache License" in text and "Runtime Library Exception" in text for text in licences.values()), "no Swift"
assert any("Apache License" in text and "Runtime Library Exception" not in text for text in licences.values()), "no licence"
assert len(metadata.get_all("License-File")) == len([name for name in licences if not name.endswith("/")]), licences
assert metadata["Author"] and len(metadata.get_all("Project-URL")) >= 3, metadata.items()
assert "layerwise = " in scripts, scripts
PYTHON

# ---- Interpreters

uv() {
    [ -x "$scratch/uv/bin/uv" ] || { python3 -m venv "$scratch/uv" && "$scratch/uv/bin/python" -m pip install --quiet uv; } \
        >/dev/null 2>&1 || return 1
    UV_PYTHON_INSTALL_DIR=$scratch/pythons "$scratch/uv/bin/uv" "$@"
}

# find VERSION: prints the path of the interpreter.
find_python() {
    case $1 in */*) echo "$1"; return ;; esac
    local candidate
    for candidate in "$(command -v "python$1" || true)" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1"*/bin/"python$1"; do
        if [ -n "$candidate" ] && "$candidate" -c '' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    uv python install --no-bin "$1" >/dev/null 2>&1 && uv python find --managed-python "$1" 2>/dev/null
}

# ---- Use, in one of them

use() {
    local interpreter=$1 place=$scratch/$2
    mkdir "$place"
    "$interpreter" -m venv "$place/venv"
    local python=$place/venv/bin/python
    "$python" -m pip install --quiet --disable-pip-version-check --no-index "$wheel"
    # NumPy and torch for the quick start: those of .venv where they fit this interpreter, else NumPy alone.
    local abi='import sysconfig; print(sysconfig.get_config_var("SOABI"))'
    if [ "$("$python" -c "$abi")" = "$("$tools/python" -c "$abi")" ]; then
        "$tools/python" -c 'import sys; print("\n".join(p for p in sys.path if p.endswith("site-packages")))' \
            >"$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/test.pth"
    else
        "$python" -m pip install --quiet --disable-pip-version-check --only-binary numpy numpy >/dev/null 2>&1 || true
    fi

    cat >"$place/use.py" <<'PYTHON'
import array, importlib.util, os, re, shutil, sys

assert shutil.which("swift") is None, "Swift is on PATH"
import layerwise as lw

assert os.path.dirname(os.path.abspath(lw.__file__)).startswith(sys.prefix), lw.__file__
if hasattr(sys, "_is_gil_enabled") and "free-threading" in sys.version:
    assert not sys._is_gil_enabled(), "the import of layerwise has brought the lock back"

weights, gradients = array.array("f", [1.0] * 1000), array.array("f", [0.1] * 1000)
with lw.Optimizer(lw.AdamW(lr=1e-2), policy=lw.LayerDecay(0.5)) as optimizer:
    optimizer.add_layer("embed", weights, grads=gradients)
    optimizer.step()
    optimizer.save("embed.lw")
assert weights[0] < 1.0

text = open(sys.argv[1], encoding="utf-8").read()
blocks = re.findall(r"^```python\n(.*?)^```$", text.partition("## Quick start")[2].partition("\n## ")[0], re.M | re.S)
assert len(blocks) == 2, len(blocks)
ran = []
for block in blocks:
    needed = "torch" if "import torch" in block else "numpy"
    if importlib.util.find_spec(needed):
        exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})
        ran.append(needed)
print("quick start with:", *ran)
PYTHON
    (
        cd "$place"
        try() { env -i HOME="$place" PATH="$place/venv/bin:/usr/bin:/bin" "$@"; }
        run() { try "$@" || fail "$interpreter: $* failed"; }
        run python use.py "$OLDPWD/README.md" >use.txt
        run layerwise --version >version.txt
        grep -qx "layerwise $version" version.txt || fail "layerwise --version says $(cat version.txt)"
        run python -m layerwise rules | cmp - "$OLDPWD/docs/rules.md" || fail "the rules are not those of docs/rules.md"
        run layerwise show embed.lw >show.txt
        grep -q embed show.txt || fail "show does not show the layer: $(cat show.txt)"
        run layerwise doctor >doctor.txt
        run layerwise bench --quick --json >/dev/null
        ! try LAYERWISE_LIBRARY=/nowhere.so layerwise doctor >/dev/null 2>broken.txt || fail "doctor found no fault"
        grep -q "/nowhere.so: does not exist" broken.txt || fail "a missing library is not named: $(cat broken.txt)"
        ! grep -q Traceback broken.txt || fail "a missing library ends in a traceback"
        echo "check-wheel: Python $("$python" -c 'import sys; print(sys.version.split()[0])'): $(tail -n 1 use.txt)"
    )
}

worked=() missing=()
for wanted in "$@"; do
    interpreter=$(find_python "$wanted") || interpreter=
    if [ -z "$interpreter" ]; then
        missing+=("$wanted")
        continue
    fi
    use "$interpreter" "python-${wanted//\//_}"
    worked+=("$("$interpreter" -c 'import sys; print(sys.version.split()[0])')")
done
[ ${#worked[@]} -gt 0 ] || fail "none of these interpreters is here: $*"
[ ${#missing[@]} -eq 0 ] || echo "check-wheel: not to be had here: ${missing[*]}"
echo "check-wheel: $(basename "$wheel") works on Python ${worked[*]}"
