"""Model folders: their card, their verification, and how the two default models are built."""
