"""Ingestion measured: how fast, how much of it outside the model, and what becomes of it in kills and storms."""
