"""The control plane under load, each figure beside a yardstick from the same run.

``python -m benchmarks.load`` (``make bench-load``) starts private PostgreSQL, RabbitMQ and Valkey
nodes, measures row by row, prints the table and exits with 1 when a row falls short.
"""
