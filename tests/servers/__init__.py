"""Private RabbitMQ, PostgreSQL and Valkey nodes for tests: free ports, temporary data."""
