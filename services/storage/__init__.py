"""Tables, repositories and blobs; the only layer that speaks SQL."""
