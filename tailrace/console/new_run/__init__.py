"""The page on which a run is written: a form generated from the schema, and its YAML."""
