"""The clients: one blocking, one asyncio, over the same calls.

Each noun's module builds calls from Python arguments (:mod:`tailrace.client.call`); the two clients
only differ in how they carry them out.
"""
