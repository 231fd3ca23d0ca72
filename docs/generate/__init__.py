"""The generator of the pages in ``docs/reference`` and of the documentation site.

``python -m docs.generate`` writes the pages; ``make docs`` writes them and builds the site.
"""
