"""An application that says who calls. `python -m tests.support.auth_app DATA` serves it for tokens of $TEST_ISSUER."""

from __future__ import annotations

import os
import sys
from typing import Any

import reflow as rf
from reflow.server.serve import serve

QUICK = rf.Limits(clock_tolerance_seconds=0.001, provider_pause_seconds=0.01)
"""Tokens that last a second are worth testing, and providers that were just down."""


class Signature(rf.Table, table="signatures"):
    name: str | None
    text: str


signed = rf.Module("signed")


@signed.query
async def who(ctx: rf.QueryCtx) -> str | None:
    identity = ctx.auth.identity()
    return None if identity is None else identity.subject


@signed.query
async def claims(ctx: rf.QueryCtx) -> dict[str, Any]:
    identity = ctx.auth.identity()
    return {} if identity is None else {"id": identity.token_identifier, **identity.claims}


@signed.mutation
async def sign(ctx: rf.MutationCtx, text: str = "") -> str | None:
    identity = ctx.auth.identity()
    name = None if identity is None else identity.subject
    await ctx.db.insert(Signature(name=name, text=text))
    return name


@signed.query
async def signatures(ctx: rf.QueryCtx, text: str) -> list[str | None]:
    return [row.name for row in await ctx.db.query(Signature).filter(lambda row: row.text == text).collect()]


@signed.action
async def asks(ctx: rf.ActionCtx) -> list[str | None]:
    identity = ctx.auth.identity()
    return [None if identity is None else identity.subject, await ctx.run_mutation(sign)]


@signed.internal_query
async def secret(ctx: rf.QueryCtx) -> str:
    return "hidden"


@signed.internal_mutation
async def secret_sign(ctx: rf.MutationCtx) -> str | None:
    return await ctx.run_mutation(sign, text="secret")


def main() -> None:
    """Serve on a free port and print the address."""
    app = rf.App(
        modules=[signed], auth=[rf.OIDC(os.environ["TEST_ISSUER"], application_id="app")], limits=QUICK, environment={}
    )
    serve(app, port=0, data=sys.argv[1], on_ready=lambda server: print(server.url, flush=True))


if __name__ == "__main__":
    main()
