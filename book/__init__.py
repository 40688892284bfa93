"""What builds the book besides MkDocs: references from the code, notebooks as pages, formulas as drawings."""
