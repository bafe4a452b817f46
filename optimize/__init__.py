"""Improving: compile jobs that tune a program with a teleprompter and measure the result."""
