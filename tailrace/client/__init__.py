"""Clients, blocking and asyncio, over the same calls.

The module of each noun builds calls from Python arguments (:mod:`tailrace.client.call`), and
:mod:`tailrace.client.rpcs` lists them; the two clients differ only in the execution of a call.
"""
