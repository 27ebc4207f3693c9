"""When each repository has garbage, and how its collections ended: one row of `dredge_due` for each."""
