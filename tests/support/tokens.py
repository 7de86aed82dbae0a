"""Tokens for tests: an issuer whose keys every test of a run shares, and a verifier that knows nobody."""

from __future__ import annotations

import time

import reflow as rf
from reflow.server.auth import AppVerifier
from reflow.testing import TokenIssuer

ISSUER = TokenIssuer()
"""`rf.App(auth=[ISSUER.provider])` takes `ISSUER.token("ann", name="Ann")`."""

NOBODY = AppVerifier((), rf.Limits(), time.time, None)
"""For doors whose clients show nothing."""
