"""`reverie bench speed`: `run` calls what measures each part, `tables` and `plots` show it."""
