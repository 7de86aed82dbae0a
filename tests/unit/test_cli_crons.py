"""`reflow crons`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli import Here, running

APP = """
import reflow as rf

class Tick(rf.Table, table="ticks"):
    n: int

work = rf.Module("work")

@work.internal_mutation
async def tick(ctx: rf.MutationCtx, n: int) -> None:
    if n == 2:
        raise ValueError("not two")
    await ctx.db.insert(Tick(n=n))
    print("ticked", flush=True)

crons = rf.Crons()
crons.interval("often", seconds=1).run(tick, 1)
crons.interval("failing", hours=2).run(tick, n=2)
crons.daily("report", hour=7, tz="Europe/Berlin").run(tick, n=3)
app = rf.App(modules=[work], crons=crons)
"""


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    monkeypatch.setenv("COLUMNS", "200")
    return Here(monkeypatch, capsys)


def test_crons_are_listed_beside_a_server_and_without_one(here: Here, tmp_path: Path) -> None:
    file, data = tmp_path / "crons_app.py", tmp_path / "data"
    file.write_text(APP)
    with running("serve", file, "--port", "0", "--data", data) as server:
        server.until(r"http://")
        server.until(r"not two")
        server.until(r"ticked")
        said = here("crons", "--data", data)
        assert said.status == 0, said.err
        assert "every 2 h" in said.out
        assert "0 7 * * * (Europe/Berlin)" in said.out
        assert "failed: Uncaught ValueError: not two" in said.out
        assert said.err == ""
    before = here("crons", "--data", data)
    assert "success" in before.out
    assert before.err == "no server has this directory open, so none of them runs\n"
    assert here("crons", "--data", data).out == before.out, "looking runs nothing"


def test_what_is_not_there_is_told(here: Here, tmp_path: Path) -> None:
    said = here("crons", "--data", tmp_path / "nowhere")
    assert said.status == 2
    assert "holds no database" in said.err
