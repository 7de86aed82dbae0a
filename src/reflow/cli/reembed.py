"""`reflow reembed`: another embedding model takes over, while searches go on with the former one."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from reflow.cli.desks import AppOption, CorpusOption, DataOption, Desk, open_desk
from reflow.cli.output import STDERR, note, show_logs
from reflow.cli.process import run
from reflow.errors import ReflowError

HELP = """Change over to another embedding model.

Every chunk gets a vector of the new model in the background; searches use the former ones until all are there, and then
one commit switches. Ended before, it goes on when it is run again. An app's corpus must know both models:
rag.Corpus(embedder=..., others=[...]); that of the playground takes the new one from here.

Examples:

  reflow reembed --model ollama/nomic-embed-text
  reflow reembed --model local/minilm-l6-v2 --app app.py
"""

_LOOK_SECONDS = 0.5
_OTHERS = "EMBEDDING_OTHERS"


class ReembedFailed(ReflowError):
    """A change of the model that could not be carried out; the former one stays in use."""

    code = "ReembedFailed"


def reembed(
    model: Annotated[str, typer.Option(help="The model to change to: the id of one of the corpus's embedders.")],
    data: DataOption = None,
    app: AppOption = None,
    corpus: CorpusOption = None,
) -> None:
    """Returns when the new model is in use."""
    show_logs(logging.WARNING)
    if not os.environ.get(_OTHERS):
        os.environ[_OTHERS] = model  # for the playground's app, which is not loaded yet

    async def main() -> None:
        async with open_desk(data, app, corpus) as desk:
            await desk.call("jobs:reembed", model=model)
            await _follow(desk, model)

    run(main())
    note(f"{model} is in use: start from now on with EMBEDDING_MODEL={model}, or with embedder= in your own app")


async def _follow(desk: Desk, model: str) -> None:
    columns = (TextColumn("  {task.description}"), BarColumn(bar_width=30), MofNCompleteColumn())
    with Progress(*columns, console=STDERR, transient=True, disable=not STDERR.is_terminal) as progress:
        task = progress.add_task(model, total=None)
        while True:
            status = await desk.call("jobs:models")
            for row in status["models"]:
                if row["model"] == model:
                    progress.update(task, completed=int(row["filled"]), total=int(row["total"]) or None)
            if status["changing"] in ("failed", "canceled"):
                raise ReembedFailed(f"the change to {model} failed: {status.get('error')}")
            if status["changing"] in ("success", None):
                return
            await asyncio.sleep(_LOOK_SECONDS)
