"""The collector: what is garbage, and the statements that remove it.

`find` names repositories with garbage, `collect` removes one bounded batch of one repository,
`review` judges the blobs that lost a reference, `tombstone` hands their objects to the eraser.
"""
