"""The pictures of the docs, made from code: `make figures` writes them to docs/figures."""
