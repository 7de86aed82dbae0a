"""The playground: documents are added, searched, compared and asked; everything is live. `reflow demo` serves it."""
