"""Systems that users would pick instead: from submitting until user code starts.

Each script runs in a virtual environment of its own, which ``peers`` makes, and prints the seconds
of its samples as JSON. None of them imports Tailrace.
"""
