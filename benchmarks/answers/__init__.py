"""How soon many watchers see what a model says."""
