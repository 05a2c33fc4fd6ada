"""Expected counts to chi2."""
