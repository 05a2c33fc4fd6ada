"""Statistical test-bench: random models, intervals and coverage against independent calculations."""
