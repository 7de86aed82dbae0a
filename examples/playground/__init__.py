"""The playground: add texts, search them by meaning and by words, compare their pieces; everything is live.

It is the application of *Using Pinecone and Embeddings* as functions of reflow, with the same paths, arguments and
results. `reflow demo` serves it; `reflow dev examples/playground/app.py` does so with reload on change.
"""
