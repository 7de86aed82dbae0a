"""The article's application: add texts, search them by meaning and by words, compare their pieces; everything is live.

It is the application of *Using Pinecone and Embeddings* as functions of reflow, with the same paths, arguments and
results, and with vectors kept here or in Pinecone by a setting. `reflow demo --article` serves it;
`reflow dev examples/article/app.py` does so with reload on change.
"""
