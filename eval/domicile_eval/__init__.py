"""The evaluation: the production use cases, measured."""
