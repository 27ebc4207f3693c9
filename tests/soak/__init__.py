"""A registry under load: processes that push, delete and pull, outages, and the books that must balance."""
