"""Payments that a provider reports through a signed webhook.

reflow env set WEBHOOK_SECRET whsec_...
reflow dev examples/webhook/app.py
"""

from __future__ import annotations

import time

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

import reflow as rf
from webhook.signatures import NotAccepted, verify


class WebhookSettings(rf.Settings):
    """What the provider and we share."""

    webhook_secret: rf.Secret


class Payment(rf.Table, table="payments"):
    """A payment, as the provider reported it. `delivery` is the id of the message."""

    delivery: str
    customer: str
    cents: int

    by_delivery = rf.Index("delivery")


class PaymentReported(msgspec.Struct):
    """The message's part that we need."""

    customer: str
    cents: int


class Event(msgspec.Struct):
    """A message."""

    type: str
    data: msgspec.Raw


payments = rf.Module("payments")


@payments.internal_mutation
async def record(ctx: rf.MutationCtx, delivery: str, customer: str, cents: int) -> bool:
    """Writes a payment down; False where this message has come before.

    Looking and writing are one transaction, so of two equal messages that come at the same time one is the second.
    """
    if await ctx.db.query(Payment).using(Payment.by_delivery, delivery=delivery).first() is not None:
        return False
    await ctx.db.insert(Payment(delivery=delivery, customer=customer, cents=cents))
    return True


@payments.query
async def latest(ctx: rf.QueryCtx) -> list[Payment]:
    """The last ten payments. A page that shows them follows each that comes in."""
    return await ctx.db.query(Payment).order("desc").take(10)


app = rf.App(modules=[payments])


@app.route("/hooks/payments", methods=["POST"])
async def payment_event(ctx: rf.ActionCtx, request: Request) -> Response:
    """Takes a message in. What is signed is the body as it came, so it is read before it is understood."""
    body = await request.body()
    secret = ctx.settings(WebhookSettings).webhook_secret
    try:
        delivery = verify(request.headers, body, secret=secret.reveal(), now=time.time())
        event = msgspec.json.decode(body, type=Event)
        if event.type == "payment.succeeded":
            payment = msgspec.json.decode(event.data, type=PaymentReported)
            await ctx.run_mutation(record, delivery=delivery, customer=payment.customer, cents=payment.cents)
    except NotAccepted as error:
        return PlainTextResponse(f"{error}\n", 401)
    except msgspec.DecodeError as error:
        return PlainTextResponse(f"{error}\n", 400)
    # A message that came before is answered like the first: the provider only wants to know that it has arrived.
    return Response(status_code=204)
