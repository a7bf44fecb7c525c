"""Network definitions, training, evaluation and the shipped models. Never imported on a satellite."""
