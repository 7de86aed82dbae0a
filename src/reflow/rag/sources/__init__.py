"""What a corpus is made of: adding, reading, versions, and what can be seen of them."""
