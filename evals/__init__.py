"""Measuring: metrics, benchmark, baselines, tracking and report for anything that predicts."""
