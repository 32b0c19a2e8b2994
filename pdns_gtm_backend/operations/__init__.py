"""What an operator can do, once, for every door: validate, preview, write, audit."""
