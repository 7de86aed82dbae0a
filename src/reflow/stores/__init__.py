"""Vector stores outside of this process, with the face of `reflow.vectors`: used from actions only."""
