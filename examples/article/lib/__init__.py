"""What the functions of the playground share: the embedder, and what the environment must have."""
