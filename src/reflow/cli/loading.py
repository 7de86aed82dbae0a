"""Finding the `rf.App` that a user means, and saying where it is wrong in the user's own lines."""

from __future__ import annotations

import importlib
import importlib.util
import linecache
import sys
import traceback
from pathlib import Path
from types import ModuleType

from reflow.app import App
from reflow.cli.output import UsageError
from reflow.errors import DefinitionError

_OURS = str(Path(__file__).resolve().parents[1])


def load_app(target: str) -> App:
    """The app behind `app.py`, `app.py:name`, `package.module` or `package.module:name`.

    Without a name: the one called `app`, else the only one. Raises UsageError when there is no such file, module or
    app, DefinitionError with the line of the user's code that fails.
    """
    place, name = _parts(target)
    module = _imported(place)
    if name:
        found = getattr(module, name, None)
        if isinstance(found, App):
            return found
        what = "is not there" if found is None else f"is a {type(found).__name__}"
        raise UsageError(f"{place}: {name!r} {what}; {_apps_of(module)}")
    apps = {id(value): (key, value) for key, value in vars(module).items() if isinstance(value, App)}
    if isinstance(named := getattr(module, "app", None), App):
        return named
    if len(apps) == 1:
        return next(iter(apps.values()))[1]
    if not apps:
        raise UsageError(f"{place} has no rf.App: add `app = rf.App(modules=[...])`")
    names = " or ".join(f"{place}:{key}" for key, _ in apps.values())
    raise UsageError(f"{place} has {len(apps)} apps: say which one, {names}")


def source_folder(target: str) -> Path:
    """The folder whose changes concern the app: the file's, or that of the topmost package around it."""
    place, _ = _parts(target)
    if place.endswith(".py") or "/" in place:
        return _package_root(Path(place).resolve())[0]
    spec = importlib.util.find_spec(place.partition(".")[0])
    origin = None if spec is None else spec.origin
    return Path(origin).resolve().parent if origin else Path.cwd()


def _parts(target: str) -> tuple[str, str]:
    """The file or module, and the name in it."""
    place, colon, name = target.rpartition(":")
    if not colon or "/" in name or name.endswith(".py"):
        return target, ""
    return place, name


def _apps_of(module: ModuleType) -> str:
    names = [key for key, value in vars(module).items() if isinstance(value, App)]
    return f"its apps: {', '.join(names)}" if names else "it has no rf.App"


def _imported(place: str) -> ModuleType:
    path = Path(place)
    if path.is_dir():
        raise UsageError(f"{place} is a folder: name the Python file that defines the app")
    if path.suffix == ".py" or "/" in place:
        if not path.is_file():
            raise UsageError(f"there is no file {place}: name the Python file that defines the app")
        return _executed(place, lambda: _import_file(path.resolve()))
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        known = importlib.util.find_spec(place) is not None
    except (ModuleNotFoundError, ValueError):
        known = False
    if not known:
        raise UsageError(f"there is no file or module {place!r} here: name a file such as app.py")
    return _executed(place, lambda: importlib.import_module(place))


def _package_root(path: Path) -> tuple[Path, list[str]]:
    """The folder that Python must know to import the file, and the file's dotted name from there."""
    parts = [] if path.stem == "__init__" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return folder, parts


def _import_file(path: Path) -> ModuleType:
    folder, parts = _package_root(path)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    if len(parts) > 1:
        return importlib.import_module(".".join(parts))
    # A file of its own may have any name, also that of a module of the standard library.
    name = parts[0] if parts[0] not in sys.modules else f"reflow_app_{parts[0]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} can't be imported: it is no Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _executed(place: str, load: object) -> ModuleType:
    """Runs an import; what it raises becomes one line that names the user's own."""
    try:
        return load()  # type: ignore[operator]
    except UsageError:
        raise
    except SyntaxError as error:
        where = f"{_short(error.filename or place)}:{error.lineno}"
        raise DefinitionError(f"{where}: {error.msg}{_shown(error.text)}") from None
    except Exception as error:
        raise DefinitionError(f"{_where(error, place)}{_told(error)}") from error
    except SystemExit:
        raise DefinitionError(f"{place} ends the program while it is imported") from None


def _told(error: Exception) -> str:
    """An error of ours explains itself; of others the kind matters."""
    return str(error) if isinstance(error, DefinitionError) else f"{type(error).__name__}: {error}"


def _where(error: Exception, place: str) -> str:
    """The last line of the user's own code that led to an error, as `file:line: `."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not _is_foreign(frame.filename):
            line = linecache.getline(frame.filename, frame.lineno or 0)
            return f"{_short(frame.filename)}:{frame.lineno}:{_shown(line)}\n        "
    return f"{place}: "


def _is_foreign(file: str) -> bool:
    return file.startswith(("<", _OURS)) or "site-packages" in file or file.startswith(sys.base_prefix + "/lib")


def _short(file: str) -> str:
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except ValueError:
        return file


def _shown(line: str | None) -> str:
    return f"  {line.strip()}" if line and line.strip() else ""
