"""The database: connection, prepared statements, schema, tables and shared SQL."""
