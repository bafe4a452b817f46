"""The survey layer: codebook, respondents, facts, folds and splits; never imports dspy."""
