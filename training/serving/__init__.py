"""Model server: OpenAI's HTTP API over the generation engine.

Requests join running decoding: between two calls of the decoder the engine prefills waiting prompts
into idle slots. Symbols of shapes are those of :mod:`training.generate`.
"""
