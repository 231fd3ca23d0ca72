"""OpenAI's HTTP API for one model: requests, answers, access, and the server itself."""
