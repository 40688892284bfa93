"""One plain function per command; the command line only parses, calls and prints."""
