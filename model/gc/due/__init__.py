"""When each repository has garbage, and how its collection fares: one row of `dredge_due` for each."""
