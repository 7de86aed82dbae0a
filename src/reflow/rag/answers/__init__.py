"""How questions are answered from what a search finds: prompts, chat models, citations, threads."""
