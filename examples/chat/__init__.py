"""A small team chat: users sign in, a team's messages are its own, and they are found by meaning as they come."""
