"""The ingestion worker: from a source of documents to a committed generation."""
