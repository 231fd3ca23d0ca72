"""Text generation: continuous batches over a key-value cache, compiled.

A batch is a fixed number of slots. Prompts of similar length are read together into free slots
(padded to a few widths, so that few programs are compiled), all slots decode together, and a slot
whose row has ended takes the next prompt. What is generated for a prompt depends on the prompt,
its sample's number and the seed, never on what it shared a batch with. Symbols of shapes: B slots,
R rows read together, W columns of their prompts, S cache columns, K tokens of a call, V vocabulary.
"""
