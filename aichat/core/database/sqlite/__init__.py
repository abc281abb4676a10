"""The database engine for SQLite: Django's own, with connections that are kept, and marks of changes for all processes.

`DATABASE_URL=sqlite:///…` selects the engine.
"""
