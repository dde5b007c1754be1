"""The HTTP edge: parse, call, translate. No logic, and no CPU work on the event loop."""
