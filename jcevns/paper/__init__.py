"""The reproduction of arXiv:2411.11749: steps, statements, one report."""
