"""From a saved file to the search that shows it."""
