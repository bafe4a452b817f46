"""ValueSim: a DSPy program that answers one survey question as one respondent."""

__version__ = "0.1.0"
