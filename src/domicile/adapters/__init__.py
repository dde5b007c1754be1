"""The world behind the ports: one vendor, one file. Only ``domicile.bootstrap`` and the tests name these modules."""
