"""The servers that Dredge can bring along: one module each."""
