"""LLM post-training in JAX: data, models, training, generation, judging.

It works alone, in a script or a notebook; importing this package imports no JAX.
"""
