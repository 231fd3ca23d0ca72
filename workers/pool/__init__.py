"""The pool: the worker process, its children and their lifetime."""
