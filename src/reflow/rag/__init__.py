"""From texts to answers: splitting and embedding. Built on the public API only, like any user's code."""
