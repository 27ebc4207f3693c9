"""What a registry is: its tables, its rules, and all of the SQL.

Nothing here knows a task queue, an object store or a process; `worker` does.
"""
