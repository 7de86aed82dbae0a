"""Where documents are kept: a protocol and what implements it."""
