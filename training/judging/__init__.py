"""Judging of predictions: verdicts, scores and calibration."""
