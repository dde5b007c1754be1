"""The built-in commands, one module each, with ``main(argv) -> exit code``."""
