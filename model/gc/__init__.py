"""The collector: what is garbage, and the statements that remove it.

`find` finds repositories with garbage, `collect` removes one bounded batch of garbage from repositories,
`review` judges the blobs that lost a reference, `tombstones` orders the erasing of their objects.
"""
