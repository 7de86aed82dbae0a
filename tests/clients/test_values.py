"""Values as the official JavaScript client reads and writes them."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from reflow.values import Int64, canonical, decode, encode
from tests.property.test_values_property import VALUES
from tests.support import ROOT
from tests.support.node import NODE, installed

# Reads one value per line, through jsonToConvex and back; a value that the client refuses gives an error line.
SCRIPT = """
import { readFileSync } from "node:fs";
const { jsonToConvex, convexToJson } = await import(process.argv[1]);
for (const line of readFileSync(0, "utf8").trimEnd().split("\\n")) {
  try { console.log(JSON.stringify(convexToJson(jsonToConvex(JSON.parse(line))))); }
  catch (error) { console.log(JSON.stringify("refused: " + error)); }
}
"""


@pytest.fixture(scope="module")
def module() -> str:
    folder = installed(ROOT / "tests" / "clients") / "convex" / "dist" / "esm" / "values" / "index.js"
    return folder.as_uri()


def through_javascript(module: str, lines: list[bytes]) -> list[bytes]:
    command = [str(NODE), "--input-type=module", "-e", SCRIPT, module]
    done = subprocess.run(command, input=b"\n".join(lines) + b"\n", capture_output=True, check=True, timeout=60)
    return done.stdout.rstrip(b"\n").split(b"\n")


@given(values=st.lists(VALUES, min_size=30, max_size=60))
@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example, HealthCheck.data_too_large],
    phases=[Phase.generate],
)
def test_the_javascript_client_takes_every_value_and_gives_it_back(module: str, values: list[Any]) -> None:
    sent = [encode(value) for value in values]
    for raw, back in zip(sent, through_javascript(module, sent), strict=True):
        decode(back)
        # JavaScript writes 1.0 as 1 and 1e20 with all its digits
        assert canonical(encode(decode(back))) == canonical(raw)


def test_special_forms_that_we_refuse_are_refused_there_too(module: str) -> None:
    lines = [b'{"$float":"AAAAAAAA8D8="}', b'{"$x":1}', b'{"$set":[]}', encode([Int64(5), b"\x00"])]
    *refused, accepted = through_javascript(module, lines)
    assert all(line.startswith(b'"refused: ') for line in refused)
    assert decode(accepted) == [5, b"\x00"]
