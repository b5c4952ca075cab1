"""``pip install .``: the flat modules of this folder as one package, ``doanet``.

A clone is used as it is: scripts and modules lie side by side, and ``doatools`` beside them. Installed like that they
would take names such as ``inference`` in everybody's site-packages. So the build copies them into the folder ``doanet``
and puts that in front of their imports of each other: ``from inference import ...`` becomes ``from doanet.inference
import ...``. Nothing else differs, and nothing happens at run time. Version and dependencies are in pyproject.toml.
"""

import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
INIT = "doanet_package.py"  # becomes __init__.py
LEFT_OUT = {"setup.py", "run.py", INIT}
MODULES = sorted(path.stem for path in ROOT.glob("*.py") if path.name not in LEFT_OUT)
DATA = ("doatools/**/*.html", "doatools/**/*.js", "doatools/**/*.css", "arrays/*.yaml", "configs/*.yaml",
        "models/*.onnx", "models/hnet_*.pt")
COMMANDS = {"localize": "doanet-localize", "check_dataset": "doanet-check", "evaluate_doanet": "doanet-evaluate"}

_OURS = "|".join(["doatools", *MODULES])
_FROM = re.compile(rf"^(\s*)from ({_OURS})\b([\w.]*) import ", re.MULTILINE)
_IMPORT = re.compile(rf"^(\s*)import ({_OURS})( as \w+)?( *#.*)?$", re.MULTILINE)
_RUN = re.compile(rf"python3 ({'|'.join(MODULES)})\.py")


def packaged(text):
    """The source of a module as it is in the package."""
    text = _FROM.sub(r"\1from doanet.\2\3 import ", text)
    text = _IMPORT.sub(r"\1from doanet import \2\3\4", text)
    return _RUN.sub(lambda match: COMMANDS.get(match[1], f"python3 -m doanet.{match[1]}"), text)


def sources():
    """{place in the package: file here}"""
    found = {"__init__.py": ROOT / INIT}
    found |= {f"{name}.py": ROOT / f"{name}.py" for name in MODULES}
    for pattern in ("doatools/**/*.py", *DATA):
        found |= {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.glob(pattern))}
    return found


class Package(build_py):
    def run(self):
        if self.editable_mode:
            raise SystemExit("a clone needs no editable installation: run its scripts as they are, or pip install .")
        shutil.rmtree(Path(self.build_lib) / "doanet", ignore_errors=True)  # of a build before, whose files may be gone
        for place, path in sources().items():
            target = Path(self.build_lib) / "doanet" / place
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.match("*.py"):
                target.write_text(packaged(path.read_text(encoding="utf-8")), encoding="utf-8")
            else:
                target.write_bytes(path.read_bytes())
        (Path(self.build_lib) / "doanet" / "py.typed").touch()

    def get_outputs(self, include_bytecode=True):
        return [str(Path(self.build_lib) / "doanet" / place) for place in [*sources(), "py.typed"]]

    def get_source_files(self):
        return [path.relative_to(ROOT).as_posix() for path in sources().values()]


if __name__ == "__main__":
    setup(cmdclass={"build_py": Package})
