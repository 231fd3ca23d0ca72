"""Measures of the project's prose, and the check that a commit changes prose only.

``python -m tests.prose [PATHS...]`` prints the figures and every offence;
``python -m tests.prose.only_words BASE [PATHS...]`` checks a sweep. The rules: ``docs/style.md``.
"""
