"""Where everything is kept. The only door to the database: SQLite embedded, PostgreSQL at scale, one code for both."""
