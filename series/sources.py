"""What the notebooks say of themselves: their parameters, and the code that shapes their runs."""

import ast
import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from common.config import InputError, literals


def stages_of(root: Path) -> dict[int, str]:
    """The stages of the series by number: the notebooks whose names begin with two digits."""
    return {int(path.stem[:2]): path.stem for path in sorted(root.glob("notebooks/[0-9][0-9]_*.ipynb"))}


def cells_of(notebook: str, root: Path) -> tuple[str, list[str]]:
    """The code of a notebook: of the cell tagged `parameters`, and of those behind it, whose code shapes its runs."""
    path = root / "notebooks" / f"{notebook}.ipynb"
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        cells = [cell for cell in cells if cell["cell_type"] == "code"]
        code = ["".join(cell["source"]) for cell in cells]
        tagged = [place for place, cell in enumerate(cells) if "parameters" in cell["metadata"].get("tags", [])]
        return code[tagged[0]], code[tagged[0] + 1 :]
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        raise InputError(f"{path} is no notebook with a cell tagged `parameters`: mend it") from None


def parameters_of(notebook: str, root: Path) -> dict[str, Any]:
    """The names and defaults of a notebook's parameters."""
    return literals(cells_of(notebook, root)[0])


def digest(notebook: str, root: Path) -> str:
    """A digest of what shapes a run: the notebook's code, all of `common` that it imports, the files that it names."""
    code, public = cells_of(notebook, root)[1], literals(read_module("__init__", root)).get("MODULES", {})
    homes = {name: module for module, names in public.items() for name in names}
    modules, waiting = {}, list(code)
    while waiting:
        for name in imported(waiting.pop(), homes) - modules.keys():
            modules[name] = read_module(name, root)
            waiting.append(modules[name])
    texts = [*code, *(modules[name] for name in sorted(modules))]
    files = [path for path in sorted(root.glob("notebooks/*.*")) if path.name in "".join(code)]
    return hashlib.sha256(b"\0".join([*map(str.encode, texts), *map(Path.read_bytes, files)])).hexdigest()


def read_module(name: str, root: Path) -> str:
    """The code of a module of `common`; none, if there is no such module."""
    path = root / "common" / f"{name}.py"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def imported(code: str, homes: dict[str, str]) -> set[str]:
    """The modules of `common` that code imports, wherever in it; `homes` are those of the public names."""
    found: set[str] = set()
    with contextlib.suppress(SyntaxError):  # a notebook may hold more than Python
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = ".".join(filter(None, ["common" if node.level else "", node.module]))
                found |= {f"{base}.{homes.get(alias.name, alias.name)}" for alias in node.names if base == "common"}
                found.add(base)
    return {name.split(".")[1] for name in found if name.startswith("common.")}
