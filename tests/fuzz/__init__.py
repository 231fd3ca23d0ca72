"""Random requests to every method, and random input of every parser: nothing may break or hang."""
