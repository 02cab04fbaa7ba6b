"""What a module imports, read from its source without running it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_READERS = frozenset({"environ", "environb", "getenv", "getenvb"})


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module.

    Attributes:
        importer, imported: dotted names.
        line: in the importer's source.
    """

    importer: str
    imported: str
    line: int


def modules_under(folder: Path) -> dict[str, Path]:
    """Dotted name to file, for every module of the packages in a folder."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(module: str, source: str, *, is_package: bool, known: frozenset[str]) -> Iterator[Import]:
    """Every import in the source, wherever it stands: in functions and under TYPE_CHECKING too.

    Args:
        module: name of the module that the source is.
        is_package: whether it is an `__init__.py`, for which a relative import starts one level further down.
        known: names of modules, which tell `from package import module` from `from module import thing`.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, module, is_package=is_package)
            for alias in node.names:
                full = f"{origin}.{alias.name}"
                yield Import(module, full if full in known else origin, node.lineno)


def environment_readers(source: str) -> Iterator[int]:
    """Lines that touch the process's environment."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr=name) if name in _READERS:
                yield node.lineno
            case ast.ImportFrom(module="os", names=names) if any(alias.name in _READERS for alias in names):
                yield node.lineno


def _origin(node: ast.ImportFrom, module: str, *, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    base = module.split(".")
    base = base[: len(base) - node.level + (1 if is_package else 0)]
    return ".".join([*base, node.module] if node.module else base)
