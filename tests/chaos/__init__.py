"""Breaks one thing at one moment of a run, and audits that nothing is lost or done twice."""
