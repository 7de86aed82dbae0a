"""What people see: messages, function logs, the banner of a server. Results alone go to standard output."""

from __future__ import annotations

import logging
import re
import sys
import time
import warnings
from pathlib import Path

from rich.console import Console
from rich.text import Text

from reflow.errors import ReflowError

STDERR = Console(stderr=True, highlight=False, soft_wrap=True)
STDOUT = Console(highlight=False, soft_wrap=True)

_STYLES = {"DEBUG": "dim", "INFO": "cyan", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "red bold"}

_OURS = str(Path(__file__).resolve().parents[1])
_FRAME = re.compile(r'^  File "(?P<file>[^"]+)", line \d+, in .*\n(?:    .*\n)*', re.MULTILINE)


class UsageError(ReflowError):
    """A command that can't be understood: a file that is not there, JSON that is none."""

    code = "UsageError"


class Interrupted(Exception):
    """The user pressed Ctrl+C."""


def complain(error: BaseException) -> None:
    """Says an error in red, without a traceback."""
    line = Text("reflow: ", style="bold red")
    line.append(str(error) or type(error).__name__, style="default not bold")
    STDERR.print(line)


def note(text: str) -> None:
    """Says something by the way."""
    STDERR.print(Text(text, style="dim"))


def banner(verb: str, url: str, facts: dict[str, str]) -> None:
    """Says where a server is and what it serves."""
    head = Text.assemble(("\n  reflow ", "bold"), (verb, "bold"), "  ", (url, "bold cyan underline"), "\n")
    STDOUT.print(head)
    for name, fact in facts.items():
        STDOUT.print(Text.assemble((f"  {name:<9}", "dim"), fact))
    STDOUT.print()
    sys.stdout.flush()


class _Lines(logging.Handler):
    """A line per record: time, level, and the path of the function that wrote it."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        line = Text(time.strftime("%H:%M:%S ", time.localtime(record.created)), style="dim")
        level = {"WARNING": "WARN", "CRITICAL": "ERROR"}.get(record.levelname, record.levelname)
        line.append(f"{level:<5} ", style=_STYLES.get(record.levelname, ""))
        text = _without_our_frames(self.format(record))
        if record.name == "reflow.functions":
            path, separator, rest = _path_and_text(text)
            line.append(path, style="bold not dim")
            text = separator + rest
        line.append(text, style="default not dim")
        STDERR.print(line)


def _without_our_frames(text: str) -> str:
    """A traceback reduced to the frames of the user's own code and libraries."""
    return _FRAME.sub(lambda frame: "" if frame["file"].startswith(_OURS) else frame[0], text)


def _path_and_text(text: str) -> tuple[str, str, str]:
    """`module:function: text` and `module:function raised` in parts."""
    path, separator, rest = text.partition(" ")
    return path.removesuffix(":"), ": " if path.endswith(":") else separator, rest


def show_logs(level: int) -> None:
    """Shows what reflow and the application log from `level` on, and warnings as log lines."""
    logger = logging.getLogger("reflow")
    logger.handlers[:] = [_Lines()]
    logger.setLevel(level)
    logger.propagate = False
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").handlers[:] = [_Lines()]
    warnings.formatwarning = lambda message, category, filename, lineno, line=None: f"{filename}:{lineno}: {message}"
