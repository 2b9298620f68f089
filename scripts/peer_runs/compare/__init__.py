"""One comparison a file; the name of the file is its name on the command line."""
