"""Signing in: accounts, browsers' sessions, and the routes that hand out tokens.

    reflow run accounts:create '{"name": "ada", "team": "engines", "password": "a long one"}' --app examples/chat/app.py

A session is a cookie that no script can read; with it the page fetches a token that is good for ten minutes.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import reflow as rf
from chat.schema import Account, Session
from chat.tokens import token_for

accounts = rf.Module("accounts")
door = rf.Router("/session")

COOKIE = "chat_session"
SESSION_SECONDS = 14 * 86400.0
SHORTEST_PASSWORD = 8
NAME_LENGTH = 40

_CHECKS = ThreadPoolExecutor(2, thread_name_prefix="chat-password")
"""Checks passwords, which takes memory and time on purpose: two at once, however many are sent."""

_NOBODY = "00" * 16 + ":" + "00" * 32
"""Compared with the password for an unknown name, so that both refusals take as long."""


class SignIn(msgspec.Struct):
    """What the page sends to sign in."""

    name: str
    password: str


# Accounts


@accounts.internal_action
async def create(ctx: rf.ActionCtx, name: str, team: str, password: str) -> rf.Id[Account]:
    """A new account; its name is unique."""
    name, team = name.strip(), team.strip()
    if not (0 < len(name) <= NAME_LENGTH and 0 < len(team) <= NAME_LENGTH):
        raise rf.ApplicationError(f"Name and team have 1 to {NAME_LENGTH} characters")
    if len(password) < SHORTEST_PASSWORD:
        raise rf.ApplicationError(f"A password has at least {SHORTEST_PASSWORD} characters")
    digest = await asyncio.get_running_loop().run_in_executor(_CHECKS, _digest, password, secrets.token_bytes(16))
    return await ctx.run_mutation(save, name=name, team=team, password=digest)


@accounts.internal_mutation
async def save(ctx: rf.MutationCtx, name: str, team: str, password: str) -> rf.Id[Account]:
    """Stores an account."""
    if await ctx.db.query(Account).using(Account.by_name, name=name).first() is not None:
        raise rf.ApplicationError(f"There is an account named {name} already")
    return await ctx.db.insert(Account(name=name, team=team, password=password))


@accounts.internal_query
async def by_name(ctx: rf.QueryCtx, name: str) -> Account | None:
    """The account of that name."""
    return await ctx.db.query(Account).using(Account.by_name, name=name).first()


def _digest(password: str, salt: bytes) -> str:
    digest = hashlib.scrypt(password.encode(), salt=salt, n=1 << 14, r=8, p=1)
    return f"{salt.hex()}:{digest[:32].hex()}"


def _fits(password: str, stored: str) -> bool:
    salt = bytes.fromhex(stored.partition(":")[0])
    return hmac.compare_digest(_digest(password, salt), stored)


# Sessions


@accounts.internal_mutation
async def begin(ctx: rf.MutationCtx, secret: str, account: rf.Id[Account], former: str | None) -> None:
    """Remembers a browser in place of its `former` secret, and forgets those that were not seen for long."""
    if former is not None:
        await end(ctx, former)
    await ctx.db.insert(Session(secret=secret, account=account, expires=ctx.now() + SESSION_SECONDS))
    old = await ctx.db.query(Session).using(Session.by_expires).lt(ctx.now()).take(100)
    await ctx.db.delete_many([session.id for session in old])


@accounts.internal_mutation
async def end(ctx: rf.MutationCtx, secret: str) -> None:
    """Forgets a browser."""
    session = await ctx.db.query(Session).using(Session.by_secret, secret=secret).first()
    if session is not None:
        await ctx.db.delete(session.id)


@accounts.internal_query
async def behind(ctx: rf.QueryCtx, secret: str) -> Account | None:
    """Whose browser it is."""
    session = await ctx.db.query(Session).using(Session.by_secret, secret=secret).first()
    if session is None or session.expires <= ctx.now():
        return None
    return await ctx.db.get(session.account)


# The door. It takes JSON only, which no form of another site can send, and its cookie goes to this site alone.


@door.route("/sign-in", methods=["POST"])
async def sign_in(ctx: rf.ActionCtx, request: Request) -> Response:
    """Checks a password; sets the cookie and gives the first token."""
    if not _is_json(request):
        return _refusal(415, "Send JSON.")
    try:
        given = msgspec.json.decode(await request.body(), type=SignIn)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _refusal(400, 'Send {"name": …, "password": …}.')
    account = await ctx.run_query(by_name, name=given.name.strip())
    stored = _NOBODY if account is None else account.password
    fits = await asyncio.get_running_loop().run_in_executor(_CHECKS, _fits, given.password, stored)
    if account is None or not fits:
        return _refusal(401, "This name and password don't belong together.")
    cookie = secrets.token_urlsafe(32)
    await ctx.run_mutation(begin, secret=_secret(cookie), account=account.id, former=_shown(request))
    response = _token(account)
    response.set_cookie(
        *(COOKIE, cookie),
        max_age=int(SESSION_SECONDS),
        path="/session",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@door.route("/token", methods=["POST"])
async def token(ctx: rf.ActionCtx, request: Request) -> Response:
    """The next token for a browser that is signed in."""
    if not _is_json(request):
        return _refusal(415, "Send JSON.")
    secret = _shown(request)
    account = None if secret is None else await ctx.run_query(behind, secret=secret)
    return JSONResponse({"token": None}) if account is None else _token(account)


@door.route("/sign-out", methods=["POST"])
async def sign_out(ctx: rf.ActionCtx, request: Request) -> Response:
    """Ends the session of this browser."""
    if not _is_json(request):
        return _refusal(415, "Send JSON.")
    secret = _shown(request)
    if secret is not None:
        await ctx.run_mutation(end, secret=secret)
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, path="/session")
    return response


def _is_json(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def _shown(request: Request) -> str | None:
    """The secret of the browser that asks."""
    cookie = request.cookies.get(COOKIE)
    return None if cookie is None else _secret(cookie)


def _secret(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()


def _token(account: Account) -> Response:
    signed = token_for(account.id, account.name, account.team, time.time())
    return JSONResponse({"token": signed}, headers={"cache-control": "no-store"})


def _refusal(status: int, reason: str) -> Response:
    return JSONResponse({"error": reason}, status_code=status)
