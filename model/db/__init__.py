"""The database: its connection, prepared statements, schema, tables and shared SQL."""
