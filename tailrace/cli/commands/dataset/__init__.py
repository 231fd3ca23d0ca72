"""``tailrace datasets``: commands on the content of a dataset."""
