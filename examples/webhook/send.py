"""Plays the provider: `WEBHOOK_SECRET=whsec_... python -m webhook.send URL CUSTOMER CENTS`, in the folder examples."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
import uuid

from webhook.signatures import sign


def main(url: str, customer: str, cents: str) -> None:
    """Sends one message."""
    event = {"type": "payment.succeeded", "data": {"customer": customer, "cents": int(cents)}}
    body, delivery, timestamp = json.dumps(event).encode(), f"msg_{uuid.uuid4().hex}", int(time.time())
    headers = {
        "content-type": "application/json",
        "webhook-id": delivery,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(os.environ["WEBHOOK_SECRET"], delivery, timestamp, body),
    }
    request = urllib.request.Request(f"{url.rstrip('/')}/hooks/payments", body, headers)
    with urllib.request.urlopen(request) as response:
        print(response.status)


if __name__ == "__main__":
    main(*sys.argv[1:])
