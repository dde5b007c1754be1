"""How single kinds of personal data and secrets are told in a text; ``domicile.detectors`` uses them all. Pure."""
