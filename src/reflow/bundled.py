"""What travels with the package besides its code: the built web pages and the playground's application."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def web_folder(page: str = "") -> Path | None:
    """Return the folder of the built pages (it holds index.html), or None where they were not built: the playground's,
    or those of another application by its name.

    They are built by installing the package (`pip install -e .` in a checkout); a published wheel carries them.
    """
    folder = _PACKAGE / "_web" / page
    return folder if (folder / "index.html").is_file() else None


def example_folder(name: str) -> Path:
    """Return the folder of an application that travels with the package: in a wheel, or beside src/ in a checkout."""
    inside = _PACKAGE / "examples" / name
    return inside if inside.is_dir() else _PACKAGE.parents[1] / "examples" / name
