"""Retention: rules that end tags.  The tags stay restorable for their namespace's recovery window."""
