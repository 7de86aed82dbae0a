"""The doors: the sync protocol, the HTTP function API, static pages."""
