"""The HTTP API of Pinecone over this server's vectors, for Pinecone's own clients, unmodified."""
